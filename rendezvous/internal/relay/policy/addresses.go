package policy

import (
	"net"
	"net/netip"
	"slices"
)

// Addresses decides which addresses may be relayed to: those of the public internet, and those that the operator
// allows. The addresses of this machine are not among them.
type Addresses struct {
	Allow []netip.Prefix      // in addition to the public internet
	Own   func() []netip.Addr // returns the addresses of this machine
}

// special are the special-purpose blocks that IsGlobalUnicast and IsPrivate do not cover (RFC 6890 and the IANA
// registries). Of IPv6, Permits asks only for addresses in 2000::/3 and of NAT64.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // shared, behind carrier-grade NAT
	netip.MustParsePrefix("169.254.0.0/16"),  // link-local: cloud metadata
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved and broadcast
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("3fff::/20"),       // documentation
}

// Permits reports whether packets may be relayed to ip. It also looks at the IPv4 addresses that an IPv6 address
// contains.
func (p Addresses) Permits(ip netip.Addr) bool {
	if ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	if contains(p.Allow, ip) {
		return true
	}
	if ip.Is6() && !global.Contains(ip) && !nat64.Contains(ip) {
		return false
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || contains(special, ip) || slices.Contains(p.Own(), ip) {
		return false
	}
	for _, inner := range embedded(ip) {
		if !p.Permits(inner) {
			return false
		}
	}
	return true
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

var (
	global    = netip.MustParsePrefix("2000::/3")     // RFC 4291 section 2.4: all that is in use
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 section 2.1
	sixToFour = netip.MustParsePrefix("2002::/16")    // RFC 3056 section 2
	teredo    = netip.MustParsePrefix("2001::/32")    // RFC 4380 section 4
)

// embedded returns the IPv4 addresses to which a router may translate packets for the IPv6 address ip.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case nat64.Contains(ip):
		return []netip.Addr{at(12)}
	case sixToFour.Contains(ip):
		return []netip.Addr{at(2)}
	case teredo.Contains(ip):
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{at(4), client}
	case b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214 section 6.1
		return []netip.Addr{at(12)}
	}
	return nil
}

// MachineAddresses returns the addresses of this machine's interfaces.
func MachineAddresses() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var ips []netip.Addr
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			ips = append(ips, prefix.Addr().Unmap())
		}
	}
	return ips
}
