package call_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/call"
)

func TestExplainNamesPublicAddress(t *testing.T) {
	for public, want := range map[string]string{
		"203.0.113.7:4000":         "a public address",
		"[2001:db8::7]:4000":       "a public address",
		"192.168.1.7:4000":         "No NAT",
		"127.0.0.1:4000":           "No NAT",
		"[fd00:1234:5678::7]:4000": "No NAT",
	} {
		got := call.NAT{Mapping: call.MappingNone, Public: netip.MustParseAddrPort(public)}.Explain()
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", public, got, want)
		}
	}
}
