// Package path finds a way for packets between two peers: ICE (RFC 8445) on
// the one UDP socket that the agent has.
//
//	          ┌────────────── the agent's UDP socket ──────────────┐
//	QUIC ◄────┤ QUIC packets                   everything else     ├────► mux
//	          └────────────────────────────────────────────────────┘      │
//	   Probe: which mapping has the NAT?      STUN answers, by transaction┤
//	   Attempt: one run of ICE with a peer    ICE checks, by user name    ┘
//
// A path that is found between addresses of the two sockets themselves is used
// by QUIC directly, without ICE in between; only a path that starts at a TURN
// allocation of our own is a [net.PacketConn] of its own.
//
// # Candidates
//
// The checks know one local candidate for each address family, the socket
// itself, since the kernel chooses the source address by route, and one for
// each TURN allocation (RFC 8445 section 6.1.2.4: a reflexive candidate is
// replaced by its base anyway). What the peer is told is more: the addresses of
// all interfaces in the [Description], then, as they are found, the
// server-reflexive address and the allocations, each as a [Candidate]. The
// reflexive address is asked for here and not by the ICE library, which sends
// its question once and never again.
//
// What a peer tells us is filtered: at most [MaxRemote] addresses are ever
// sent to, and none of them is a loopback, link-local, multicast, broadcast,
// unspecified or cloud metadata address. Private addresses are allowed: they
// are what a LAN is made of.
//
// # Waiting for the better path
//
// Direct pairs are taken at once. A relayed pair waits a second for a direct one,
// unless what both ends know of their NATs says that none can come. A path
// never changes; a better one, or one on another network, is a new [Attempt].
package path
