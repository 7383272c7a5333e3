// Package quiclink makes links over QUIC: the best rung of the ladder, and
// what runs inside a relay too.
//
// # One socket
//
// An [Endpoint] owns one UDP socket, on which it dials and accepts, and which
// it shares with ICE: packets that are not QUIC come out of
// [Endpoint.NonQUIC]. QUIC on its own socket uses the kernel's segmentation
// offload and finds the path's MTU; over a packet connection that somebody
// else wraps ([Endpoint.DialOver], [Endpoint.ListenOver], for relayed paths)
// it is three times slower.
//
// The two are told apart by the first two bits of a packet: zero in STUN
// (RFC 5389 section 6), never both zero in QUIC (RFC 9000 section 17).
// ChannelData of TURN (0x40 to 0x4f) is not told from QUIC, so allocations
// need a socket of their own.
//
// # Lanes
//
//	dialer                                              acceptor
//	│ Initial, mutual TLS 1.3, ALPN easyfind-link/1 ─────►│
//	│◄───────────────── Handshake, the acceptor's key ────│
//	│ Handshake, the dialer's key ───────────────────────►│ asks Config.Trust
//	│ stream: lane 4 │ frame │ frame │ ... │ FIN ────────►│ a unidirectional stream
//	│◄────────── FIN │ ... │ frame │ frame │ lane 4 :stream│ per lane and direction
//
// A lane is opened by its first frame and ended by EndLane. Dial returns when
// the acceptor has proved its key; whether it accepts this end's key shows in
// Run.
//
// # Congestion control
//
// Everything that the package takes from QUIC is named in engine.go. The
// stock engine has no door for a congestion controller of ours. The fork
// github.com/apernet/quic-go has one: (*Conn).SetCongestionControl, called
// once a handshake is complete, with a congestion.CongestionControl. To use it
// change the import in engine.go to the fork and call the door in newLink,
// which every connection passes. Stream priorities (engine.go too) are used
// where the engine has them.
package quiclink
