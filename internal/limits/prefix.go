package limits

import "net/netip"

// Prefix returns the unit that limits apply to: the IPv4 address, or the /64 of an IPv6 address, because a single
// subscriber has at least that much. An IPv4 address that is mapped into IPv6 counts as the IPv4 address. All invalid
// addresses share the zero Prefix, for example when a proxy does not name its client.
func Prefix(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap().WithZone(""); a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // fails only for too many bits, and returns the zero Prefix for the zero Addr
	return p
}
