// Package quiclink makes links over QUIC. They are the best links where UDP
// works, and also run through relays.
//
// # One socket
//
// An [Endpoint] owns one UDP socket. It dials and accepts links on it, and shares
// it with ICE: [Endpoint.NonQUIC] reads the packets that are not QUIC. On a
// socket of its own QUIC uses the kernel's segmentation offload (GSO), reads
// packets that the kernel has coalesced (GRO), and finds the path's MTU. Over a
// packet connection of another package, such as a relayed one
// ([Endpoint.DialOver], [Endpoint.ListenOver]), it is several times slower.
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
// Lossy frames travel in QUIC datagrams (RFC 9221), one in each. They are under
// congestion control, but the engine sends them before the data of streams.
//
// # Engine and congestion control
//
// The engine is github.com/apernet/quic-go, a fork of quic-go with an interface for
// congestion controllers, and the controller is that of package congestion: quic-go's
// CUBIC loses most of the bandwidth where packets are lost at random. All that the
// package takes from the engine is named in engine_fork.go. The build tag stockquic
// selects quic-go itself (engine_stock.go), which is also tested.
//
// Stream priorities (engine.go) have an effect only if the engine supports them; the
// fork takes turns among streams, packet by packet.
package quiclink
