package path

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrRefused is the error of an address to which this agent never sends.
var ErrRefused = errors.New("address refused")

// metadata holds the addresses of cloud metadata services, which trust every
// program on the machine. 169.254.169.254 is not listed, because all
// link-local addresses are refused.
var metadata = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon EC2
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
}

// Address blocks in which no peer can be (RFC 6890). net/netip knows the others.
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // includes broadcast
	siteLocal   = netip.MustParsePrefix("fec0::/10")
	compatible  = netip.MustParsePrefix("::/96")        // an IPv4 address in the last four bytes
	nat64       = netip.MustParsePrefix("64:ff9b::/96") // likewise (RFC 6052)
)

// checkAddr returns an address in its canonical form, or an error that wraps
// [ErrRefused]. A peer must not make this agent send to a victim or to a service
// that trusts this machine.
func checkAddr(ap netip.AddrPort, loopback bool) (netip.AddrPort, error) {
	refuse := func(reason string) (netip.AddrPort, error) {
		return netip.AddrPort{}, fmt.Errorf("%w: %v is %s", ErrRefused, ap, reason)
	}
	a := ap.Addr().Unmap()
	switch {
	case !ap.IsValid() || ap.Port() == 0:
		return refuse("not an address with a port")
	case a.Zone() != "":
		return refuse("bound to an interface")
	case a.IsUnspecified() || thisNetwork.Contains(a):
		return refuse("unspecified")
	case a.IsLoopback() && !loopback:
		return refuse("a loopback address")
	case a.IsMulticast() || reserved.Contains(a):
		return refuse("a multicast or broadcast address")
	case a.IsLinkLocalUnicast() || siteLocal.Contains(a):
		return refuse("a link-local address")
	}
	for _, m := range metadata {
		if a == m {
			return refuse("a metadata service")
		}
	}
	if !a.IsLoopback() && (compatible.Contains(a) || nat64.Contains(a)) {
		b := a.As16()
		if _, err := checkAddr(netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), ap.Port()), loopback); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(a, ap.Port()), nil
}
