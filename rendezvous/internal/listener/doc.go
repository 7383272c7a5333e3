// Package listener accepts everything that reaches the rendezvous over TCP. It finds out which client a connection is
// from and which protocol it speaks, and hands it to the service of that protocol.
//
//	accept ──► PROXY header ──► TLS ──► ALPN easyfind/1 ────────► signalling
//	           (balancers only)      ├► ALPN stun.turn ─────────► relay
//	                                 ├► ALPN http/1.1 ──────────► HTTP
//	                                 └► no ALPN: STUN or HTTP, by the first byte
//
// The port of STUN and TURN over TCP, and the port of HTTP without TLS for reverse proxies, have the first two steps
// only.
//
// A connection is pending until its protocol is known. Config.GreetingTimeout bounds that time. The connections of each
// source are bounded, and so are the pending connections of each source and of all sources together. A signalling
// connection costs one goroutine and no buffer in this package.
package listener
