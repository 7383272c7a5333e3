package policy

import (
	"net/netip"
	"testing"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/relaytest"
)

func TestAddressesAreRecognizedInEveryNotation(t *testing.T) {
	own := netip.MustParseAddr("93.184.216.1")
	p := Addresses{Own: func() []netip.Addr { return []netip.Addr{own} }}
	for _, c := range relaytest.Addresses {
		if got := p.Permits(netip.MustParseAddr(c.Address)); got != c.Permitted {
			t.Errorf("%s: %t, want %t", c.Address, got, c.Permitted)
		}
	}
}

func TestOperatorAllowsNetworks(t *testing.T) {
	p := Addresses{
		Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		Own:   func() []netip.Addr { return nil },
	}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "64:ff9b::a01:203": true, "127.0.0.1": false,
	} {
		if got := p.Permits(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %t, want %t", address, got, want)
		}
	}
}
