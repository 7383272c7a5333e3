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
)

var connectionIDFromBytes = quic.ConnectionIDFromBytes

// control does nothing: quic-go uses CUBIC and has no interface for another congestion
// controller.
func control(*engineConn) {}
