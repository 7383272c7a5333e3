// Package datagrams reads and writes many datagrams of a UDP socket with one
// system call.
//
// On Linux a Reader takes all that have arrived with one recvmmsg, and a Writer
// sends all that it was given with one sendmmsg, in which those of one length to
// one address are one message that the kernel cuts up (UDP_SEGMENT, udp(7)).
// Neither waits for a batch to fill: a Reader returns what is there, and when a
// Writer sends is its user's word. Elsewhere each datagram is a call, and the
// rest is the same.
package datagrams

import "net/netip"

// Bounds of a batch.
const (
	MaxSize  = 2048 // bytes of one datagram; a longer one is cut when read and lost when written
	MaxBatch = 64   // datagrams
)

// unmapped is an address as it is compared: IPv4 as IPv4.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
