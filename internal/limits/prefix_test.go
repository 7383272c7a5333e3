package limits_test

import (
	"net/netip"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

func TestAddressesOfOneSubscriberShareAPrefix(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":             "192.0.2.7/32",
		"::ffff:192.0.2.7":      "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"fe80::1%eth0":          "fe80::/64",
		"2001:db8:1:2:ffff::99": "2001:db8:1:2::/64",
	} {
		if got := limits.Prefix(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("Prefix(%s) = %s, want %s", address, got, want)
		}
	}
	if got := limits.Prefix(netip.Addr{}); got.IsValid() {
		t.Errorf("the zero address has the prefix %s, want none", got)
	}
}
