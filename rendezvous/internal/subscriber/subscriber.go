// Package subscriber tells sources of traffic apart, for whatever is limited or
// counted by the source.
package subscriber

import "net/netip"

// Of is what one subscriber has at least, an IPv4 address or an IPv6 /64, and so
// whom an address counts as. An IPv4 address that is mapped into IPv6 is the IPv4
// address. The zero address, of whom cannot be told apart (such as a proxy that
// does not say for whom it asks), has the zero prefix, which all of them share.
func Of(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap().WithZone(""); a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the error is of too many bits
	return p
}
