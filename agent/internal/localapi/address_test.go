package localapi_test

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

func TestDirectAddress(t *testing.T) {
	for s, want := range map[string]string{
		"tls://workshop":         "tls://workshop:7574",
		"tcp://10.0.0.2/":        "tcp://10.0.0.2:7575",
		"tls://[fd00::1]":        "tls://[fd00::1]:7574",
		"tls://host.example:443": "tls://host.example:443",
		"":                       "",
		"workshop":               "",
		"workshop:7574":          "",
		"https://workshop":       "",
		"tls://":                 "",
		"tls://:7574":            "",
		"tls://host:0":           "",
		"tls://host:70000":       "",
		"tls://host:7574/path":   "",
		"tls://user:secret@host": "",
		"tls://host?x=1":         "",
		"tls://host\x1b[2J":      "",
		"tls://host#fragment":    "",
		"tls:workshop":           "",
		"tcp://host:port":        "",
		"tls://host:7574 ":       "",
		"tls://ho st":            "",
		"udp://host:1":           "",
		"tls://[::1":             "",
		"tls://[fe80::1%25eth0]": "",
	} {
		got, err := localapi.DirectAddress(s)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("DirectAddress(%q) = %q, %v, want %q", s, got, err, want)
		}
		if err != nil && localapi.ExitCode(err) != 2 {
			t.Errorf("%q: exit code %d, want 2", s, localapi.ExitCode(err))
		}
	}
}

func FuzzDirectAddress(f *testing.F) {
	for _, s := range []string{"tls://workshop", "tcp://[fd00::1]:7575", "tls://a%zz", "://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := localapi.DirectAddress(s)
		if err != nil {
			return
		}
		if twice, err := localapi.DirectAddress(once); err != nil || twice != once {
			t.Errorf("DirectAddress(%q) = %q, whose DirectAddress is %q, %v", s, once, twice, err)
		}
	})
}
