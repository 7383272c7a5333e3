// Package front is the rendezvous's front door: it finds out who is at the
// other end of a TCP connection and what that one wants, and hands the
// connection on.
//
//	accept ──► PROXY header ──► TLS ──► ALPN easyfind/1 ─────► signalling
//	           (balancers only)      ├► ALPN stun.turn ──────► relay
//	                                 ├► ALPN http/1.1 ───────► HTTP
//	                                 └► none: STUN or HTTP, by the first byte
//
// The port of STUN and TURN over TCP, and the one of HTTP without TLS for
// reverse proxies, have the same first two steps and no others.
//
// All of it happens within one deadline, connections are bounded for each source
// and those that have not said yet what they want are bounded in all. A
// connection for signalling keeps one goroutine and no buffer of this package.
package front
