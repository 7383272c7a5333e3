package call_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/call"
)

func TestDecodeChecksMessages(t *testing.T) {
	const (
		id          = `"call":"0123456789abcdef"`
		description = `"description":{"ufrag":"abcdefgh","pwd":"abcdefghijklmnopqrstuvwx"}`
	)
	for body, ok := range map[string]bool{
		`{"kind":"offer",` + id + `,` + description + `}`:                                             true,
		`{"kind":"offer",` + id + `,` + description + `,"direct":["tls://192.0.2.1:7574"],"later":1}`: true,
		`{"kind":"busy",` + id + `}`:                                                                  true,
		`{"kind":"offer",` + id + `}`:                                                                 false,
		`{"kind":"candidate",` + id + `}`:                                                             false,
		`{"kind":"shout",` + id + `}`:                                                                 false,
		`{"kind":"busy","call":"0123"}`:                                                               false,
		`{"kind":"busy",` + id + `,"direct":["` + strings.Repeat("x", 257) + `"]}`:                    false,
		`{"kind":"busy",` + id + `,"direct":["1","2","3","4","5","6","7","8","9"]}`:                   false,
		`{"kind":"busy",` + id + `} {}`:                                                               false,
		strings.Repeat(" ", call.MaxMessage) + `{"kind":"busy",` + id + `}`:                           false,
	} {
		if _, err := call.Decode([]byte(body)); (err == nil) != ok {
			t.Errorf("%.80s: error %v, want none: %v", body, err, ok)
		}
	}
}

// FuzzDecode checks that a decoded message can be encoded and decoded again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"kind":"offer","call":"0123456789abcdef",` +
		`"description":{"ufrag":"abcdefgh","pwd":"abcdefghijklmnopqrstuvwx","hosts":["192.0.2.1:5"]},` +
		`"direct":["tls://192.0.2.1:7574"]}`))
	f.Add([]byte(`{"kind":"candidate","call":"0123456789abcdef",` +
		`"candidate":{"type":"srflx","addr":"192.0.2.1:5","priority":5}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := call.Decode(body)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("%+v does not encode: %v", m, err)
		}
		if _, err := call.Decode(again); err != nil {
			t.Fatalf("%s does not decode again: %v", again, err)
		}
	})
}

// FuzzDescription checks that a decoded description encodes to the same description.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"ufrag":"abcdefgh","pwd":"abcdefghijklmnopqrstuvwx","hosts":["192.0.2.1:5"],` +
		`"nat":{"mapping":"none","public":"192.0.2.1:5"}}`))
	f.Add([]byte(`{"ufrag":"a:b","pwd":""}`))
	f.Add([]byte(`{"ufrag":"abcdefgh","pwd":"abcdefghijklmnopqrstuvwx","nat":{"mapping":"odd"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d call.Description
		if json.Unmarshal(b, &d) != nil {
			return
		}
		again, err := json.Marshal(d)
		var e call.Description
		if err == nil {
			err = json.Unmarshal(again, &e)
		}
		same := e.Ufrag == d.Ufrag && e.Pwd == d.Pwd && e.NAT == d.NAT && slices.Equal(e.Hosts, d.Hosts)
		if err != nil || !same || len(d.Hosts) > call.MaxHosts {
			t.Fatalf("%+v becomes %+v: %v", d, e, err)
		}
	})
}

// FuzzCandidate checks that a decoded candidate encodes to the same candidate.
func FuzzCandidate(f *testing.F) {
	f.Add([]byte(`{"type":"host","addr":"192.0.2.1:5","priority":2130706431}`))
	f.Add([]byte(`{"type":"relay","addr":"[2001:db8::1]:5","priority":16777215,"via":"tcp"}`))
	f.Add([]byte(`{"type":"prflx","addr":"192.0.2.1:5","priority":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, e call.Candidate
		if json.Unmarshal(b, &c) != nil {
			return
		}
		again, err := json.Marshal(c)
		if err == nil {
			err = json.Unmarshal(again, &e)
		}
		if err != nil || e != c {
			t.Fatalf("%+v becomes %+v: %v", c, e, err)
		}
	})
}
