// Package datagrams reads and writes many datagrams of a UDP socket with one system call.
//
// On Linux a [Reader] reads all datagrams that have arrived with one recvmmsg, and a [Writer] sends all that it was
// given with one sendmmsg. Datagrams of the same length to the same address are one message, which the kernel splits
// into segments (UDP_SEGMENT, udp(7)). Neither waits for a batch to fill: a Reader returns what has arrived, and the
// caller decides when a Writer sends. On other systems each datagram needs a system call of its own.
package datagrams

import "net/netip"

// Bounds of a batch.
const (
	MaxSize  = 2048 // bytes of one datagram; a longer one is truncated when read, and dropped when written
	MaxBatch = 64   // datagrams
)

// unmapped returns an address in the form in which addresses are compared: an IPv4 address as IPv4.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
