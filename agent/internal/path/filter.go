package path

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrRefused is the error of an address that is never sent to, whoever asks.
var ErrRefused = errors.New("address refused")

// metadata are the addresses at which clouds answer to whoever asks from the
// machine itself, beside 169.254.169.254, which is link-local.
var metadata = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon EC2
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
}

// Blocks that hold no host that a peer could be (RFC 6890), beside those that
// net/netip knows.
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // and broadcast
	siteLocal   = netip.MustParsePrefix("fec0::/10")
	compatible  = netip.MustParsePrefix("::/96")        // IPv4 in its last four bytes
	nat64       = netip.MustParsePrefix("64:ff9b::/96") // the same (RFC 6052)
)

// admit returns the address as it is compared and sent to, or why it is
// refused: a peer must not make us send to a victim, nor to what only this
// machine may reach.
func admit(ap netip.AddrPort, loopback bool) (netip.AddrPort, error) {
	refuse := func(why string) (netip.AddrPort, error) {
		return netip.AddrPort{}, fmt.Errorf("%w: %v is %s", ErrRefused, ap, why)
	}
	a := ap.Addr().Unmap()
	switch {
	case !ap.IsValid() || ap.Port() == 0:
		return refuse("no address and port")
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
		if _, err := admit(netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), ap.Port()), loopback); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(a, ap.Port()), nil
}
