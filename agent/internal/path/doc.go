// Package path finds paths between two peers with ICE (RFC 8445), on the one UDP
// socket of the agent.
//
//	          ┌────────────── the agent's UDP socket ──────────────┐
//	QUIC ◄────┤ QUIC packets                   all other packets   ├────► mux
//	          └────────────────────────────────────────────────────┘      │
//	   Probe: finds the mapping of the NAT    STUN responses, by ID ──────┤
//	   Attempt: one run of ICE with a peer    ICE checks, by user name ───┘
//
// QUIC uses a path between the two peers' sockets directly. A path that begins at a
// local TURN allocation has a [net.PacketConn] of its own.
//
// # Candidates
//
// ICE checks one local candidate for each address family and one for each TURN
// allocation. The candidate of a family is the socket itself, because the kernel
// chooses the source address by route. A reflexive candidate would be replaced by
// its base (RFC 8445 section 6.1.2.4). The peer learns more addresses: those of
// all interfaces in the [call.Description], and then, as they are found, the
// server-reflexive address and the allocations, each as a [call.Candidate]. This
// package queries the reflexive address itself, because the ICE library sends its
// query only once.
//
// The addresses of a peer are filtered. This agent sends to at most
// [call.MaxRemote] of them, and never to a loopback, link-local, multicast,
// broadcast, unspecified or cloud metadata address. Private addresses are
// allowed, because LANs use them.
//
// # Direct and relayed pairs
//
// A direct pair is selected at once. A relayed pair waits one second for a direct
// one, unless the NATs of the two peers are known to prevent direct paths. A path
// never changes. A better path, or a path on another network, is a new [Attempt].
package path
