package quiclink

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The engine: all that this package takes from QUIC, so that another module
// with the same shape can take its place by the import above.
type (
	engineTransport = quic.Transport
	engineConn      = quic.Conn
	engineConfig    = quic.Config
	sendStream      = quic.SendStream
	receiveStream   = quic.ReceiveStream
	connectionID    = quic.ConnectionID

	applicationError = quic.ApplicationError
	idleTimeout      = quic.IdleTimeoutError
	handshakeTimeout = quic.HandshakeTimeoutError
	transportError   = quic.TransportError
)

const (
	alpn = "easyfind-link/1"

	handshakeIdle = 5 * time.Second // without an answer; a handshake may take twice that

	// Initial windows hold a few disk requests, so that no transfer waits for
	// a window update first; the largest ones fill 1 Gbit/s at 250 ms.
	streamWindow    = 2 << 20
	connWindow      = 4 << 20
	maxStreamWindow = 32 << 20
	maxConnWindow   = 64 << 20
)

// config is the engine's, for a socket of our own or for a wrapped one.
func config(wrapped bool) *engineConfig {
	c := &engineConfig{
		HandshakeIdleTimeout:           handshakeIdle,
		MaxIdleTimeout:                 link.QUICIdleTimeout,
		KeepAlivePeriod:                link.QUICProbeInterval,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: connWindow,
		MaxConnectionReceiveWindow:     maxConnWindow,
		MaxIncomingUniStreams:          tunnel.MaxLanes,
		MaxIncomingStreams:             -1, // none
		EnableDatagrams:                true,
	}
	if wrapped {
		// A relay adds a header to each packet and nobody can say what its
		// path bears: the least that QUIC demands (RFC 9000 section 14).
		c.InitialPacketSize = 1200
		c.DisablePathMTUDiscovery = true
	}
	return c
}

// Urgencies of RFC 9218, lower first. Lanes are urgent until they carry a
// large frame.
const (
	urgent = 1
	bulk   = 4
)

// setUrgency is a hint, which an engine without priorities does not take.
func setUrgency(s *sendStream, urgency int8) {
	if p, ok := any(s).(interface{ SetPriority(int8, bool) }); ok {
		p.SetPriority(urgency, true)
	}
}

const connectionIDLen = 8

// connectionIDs are random, apart from their fourth byte, which is never 0x21.
// In a packet with a short header that byte is at offset 4, where STUN has its
// magic cookie 0x2112a442 (RFC 5389 section 6): whoever on a relayed path
// looks for STUN by the cookie alone never takes our packets for it. In long
// headers offset 4 is the version's last byte, which is no 0x21 either.
type connectionIDs struct{}

// GenerateConnectionID draws an ID.
func (connectionIDs) GenerateConnectionID() (connectionID, error) {
	var b [connectionIDLen]byte
	for b[3] = 0x21; b[3] == 0x21; {
		if _, err := rand.Read(b[:]); err != nil {
			return connectionID{}, fmt.Errorf("draw a connection ID: %w", err)
		}
	}
	return quic.ConnectionIDFromBytes(b[:]), nil
}

// ConnectionIDLen is the length of all IDs, in bytes.
func (connectionIDs) ConnectionIDLen() int { return connectionIDLen }
