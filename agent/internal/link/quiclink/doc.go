// Package quiclink makes links over QUIC. They are the best links where UDP
// works, and also run through relays.
//
// # One socket
//
// An [Endpoint] owns one UDP socket. It dials and accepts links on it, and shares
// it with ICE: [Endpoint.NonQUIC] reads the packets that are not QUIC. On a
// socket of its own QUIC uses the kernel's segmentation offload and finds the
// path's MTU. Over a packet connection of another package, such as a relayed one
// ([Endpoint.DialOver], [Endpoint.ListenOver]), it is three times slower.
//
// The first two bits of a packet distinguish STUN and QUIC: they are zero in STUN
// (RFC 5389 section 6) and never both zero in QUIC (RFC 9000 section 17). TURN's
// ChannelData (0x40 to 0x4f) looks like QUIC, so TURN allocations
// need a socket of their own.
//
// # Lanes
//
//	dialer                                              acceptor
//	│ Initial, mutual TLS 1.3, ALPN easyfind-link/1 ─────►│
//	│◄───────────────── Handshake, the acceptor's key ────│
//	│ Handshake, the dialer's key ───────────────────────►│ calls Config.Trust
//	│ stream: lane 4 │ frame │ frame │ ... │ FIN ────────►│ a unidirectional stream
//	│◄────────── FIN │ ... │ frame │ frame │ lane 4 :stream│ per lane and direction
//
// The first frame of a lane opens its stream and EndLane ends it. Dial returns
// when the acceptor has proved its key. If the acceptor does not trust the
// dialer's key, the dialer's Run returns an error.
//
// # Congestion control
//
// All that the package takes from QUIC is named in engine.go. Stock quic-go has no
// interface for another congestion controller. The fork
// github.com/apernet/quic-go has one: (*Conn).SetCongestionControl takes a
// congestion.CongestionControl after the handshake. To use it, import the fork in
// engine.go and call SetCongestionControl in newLink, which every connection
// passes. Stream priorities, also in engine.go, have an effect only if the engine
// supports them.
package quiclink
