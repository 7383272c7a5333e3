//go:build stockquic

package quiclink

import "github.com/quic-go/quic-go"

// These names are all that this package takes from QUIC.
type (
	engineTransport = quic.Transport
	engineConn      = quic.Conn
	engineConfig    = quic.Config
	sendStream      = quic.SendStream
	receiveStream   = quic.ReceiveStream
	connectionID    = quic.ConnectionID

	applicationError      = quic.ApplicationError
	idleTimeoutError      = quic.IdleTimeoutError
	handshakeTimeoutError = quic.HandshakeTimeoutError
	transportError        = quic.TransportError
	datagramTooLargeError = quic.DatagramTooLargeError
)

var connectionIDFromBytes = quic.ConnectionIDFromBytes

// control changes nothing: quic-go uses CUBIC and has no interface for another congestion
// controller. It returns a function that returns the loss rate; the rate is not measured.
func control(conn *engineConn) (measured func() (rate, loss float64)) {
	return func() (rate, loss float64) {
		if s := conn.ConnectionStats(); s.PacketsSent > 0 {
			loss = min(1, float64(s.PacketsLost)/float64(s.PacketsSent))
		}
		return 0, loss
	}
}
