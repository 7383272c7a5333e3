package state

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzState(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"version":1}`, `{"version":1,"peers":[],"shares":[{"device":"2-1"}],"uses":[]}`,
		`{"version":1,"shares":[{"device":"","until":"2026-01-01T00:00:00Z"}]}`, `{"version":1}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := decode(raw)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(encoded)
		if err != nil || !cmp.Equal(s, again) {
			t.Errorf("decode(encode(decode(%s))) = %+v, %v", raw, again, err)
		}
	})
}
