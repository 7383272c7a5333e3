package httpapi

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func FuzzCursor(f *testing.F) {
	for _, c := range []registry.Cursor{
		{At: time.UnixMilli(1_800_000_000_123), ID: [8]byte{1, 2, 3}}, {At: time.UnixMilli(0)},
	} {
		f.Add(cursor(c))
	}
	f.Add("")
	f.Add("AAAA")
	f.Add("=")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := PageQuery{Limit: 50, After: text}.page()
		if err != nil || text == "" {
			return
		}
		again, err := PageQuery{Limit: 50, After: cursor(p.After)}.page()
		if err != nil || again != p {
			t.Errorf("%q decodes to %+v, which encodes and decodes to %+v, %v", text, p, again, err)
		}
	})
}

func FuzzVersion(f *testing.F) {
	for _, seed := range []string{`"3"`, "*", "", `W/"3"`, `"9223372036854775808"`, `"+1"`, `"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := VersionHeader{IfMatch: text}.version()
		if v < 0 || (err != nil) != (v == 0) && text != "" && text != "*" {
			t.Errorf("%q is parsed as %d, %v", text, v, err)
		}
	})
}
