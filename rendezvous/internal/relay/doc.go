// Package relay is the rendezvous's STUN and TURN server (RFC 8489, RFC 5766),
// on UDP, TCP and, for connections that are handed to it, TLS.
//
// What its users may do is bounded: credentials are short-lived and of one
// peer, a peer has a few allocations at a time, nothing is relayed to addresses
// that are not the public internet's unless the operator allows them, and who
// has not authenticated gets few answers. An allocation ends with the TCP
// connection that made it.
//
// The TURN server of pion/turn answers requests: it allocates, permits, binds
// channels and says when they are over. What is relayed goes past it, many
// packets with one system call, see relayConn and the package datagrams.
//
// Relayed addresses are IPv4 (RFC 5766): peers with IPv6 only reach a relay but
// are not reached through one.
package relay
