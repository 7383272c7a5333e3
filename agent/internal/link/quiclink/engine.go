package quiclink

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	alpn = "easyfind-link/1"

	handshakeIdleTimeout = 5 * time.Second // without an answer; a handshake may take twice that

	// The initial windows hold a few disk requests, so that a transfer does not
	// begin with a wait for a window update. The engine widens them while the peer
	// fills them, up to the largest, which suffice for 1 Gbit/s at 250 ms. A window
	// reserves no memory: it bounds what the peer may send before it is read, so a
	// link holds at most maxConnWindow, and an idle link nothing.
	streamWindow    = 2 << 20
	connWindow      = 4 << 20
	maxStreamWindow = 32 << 20
	maxConnWindow   = 64 << 20
)

// config returns the configuration for the endpoint's socket or for a wrapped
// packet connection.
func config(wrapped bool) *engineConfig {
	c := &engineConfig{
		HandshakeIdleTimeout:           handshakeIdleTimeout,
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
		// A relay adds a header to each packet, and the MTU of its path is
		// unknown. So take the smallest size that QUIC permits (RFC 9000
		// section 14).
		c.InitialPacketSize = 1200
		c.DisablePathMTUDiscovery = true
	}
	return c
}

// Urgencies (RFC 9218 section 4.1); lower values are sent first.
const (
	urgencyInteractive = 1
	urgencyIsochronous = 2
	urgencySerial      = 3
	urgencyBulk        = 4
)

// urgencyOf returns the urgency of a new lane. A lane of tunnel.ClassBulk is
// interactive until it carries a large frame.
func urgencyOf(class tunnel.Class) int8 {
	switch class {
	case tunnel.ClassIsochronous:
		return urgencyIsochronous
	case tunnel.ClassSerial:
		return urgencySerial
	}
	return urgencyInteractive
}

// setUrgency sets the urgency of a stream if the engine supports priorities.
func setUrgency(s *sendStream, urgency int8) {
	if p, ok := any(s).(interface{ SetPriority(int8, bool) }); ok {
		p.SetPriority(urgency, true)
	}
}

const connectionIDLen = 8

// connectionIDs generates random connection IDs whose fourth byte is not 0x21. In
// a packet with a short header that byte is at offset 4, where STUN has its magic
// cookie 0x2112a442 (RFC 5389 section 6). So a relay that recognizes STUN by the
// cookie alone does not take QUIC packets for STUN. In long headers the byte at
// offset 4 is the last one of the version, which is not 0x21 either.
type connectionIDs struct{}

// GenerateConnectionID returns a new ID.
func (connectionIDs) GenerateConnectionID() (connectionID, error) {
	var b [connectionIDLen]byte
	for b[3] = 0x21; b[3] == 0x21; {
		if _, err := rand.Read(b[:]); err != nil {
			return connectionID{}, fmt.Errorf("draw a random connection ID: %w", err)
		}
	}
	return connectionIDFromBytes(b[:]), nil
}

// ConnectionIDLen returns the length of all IDs in bytes.
func (connectionIDs) ConnectionIDLen() int { return connectionIDLen }
