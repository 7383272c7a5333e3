// Package link defines the [Link], an authenticated connection to a peer, and
// the [Ladder], which races the ways to make one.
package link

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Link is an authenticated connection to one peer over one path. It carries
// frames on lanes. Lanes do not delay each other, as far as the path allows. A link
// is equal to itself alone: implementations are pointers.
type Link interface {
	// Info describes the link. The answer never changes.
	Info() Info
	// Stats returns the current counters.
	Stats() Stats
	// Send sends a frame after all earlier frames of its lane. It blocks while
	// the path accepts no more data. Calls for different lanes may be concurrent.
	// An error is final: the link has ended. Send does not keep the body of the
	// frame after it returns. A lossy frame (tunnel.Kind.Lossy) does not wait for
	// other frames; it may overtake them, or get lost.
	Send(f tunnel.Frame) error
	// EndLane releases the resources of a lane on which this side sends no more
	// frames.
	EndLane(lane tunnel.Lane)
	// Run delivers arriving frames until the link ends. It returns the error
	// that ended the link, or nil after Close or when ctx ends. It must be called
	// once. Calls of deliver are in order within a lane and concurrent for
	// different lanes and for lossy frames. While deliver blocks, its lane makes no progress, and with
	// some paths the whole link does not. An error of deliver ends the link.
	Run(ctx context.Context, deliver func(tunnel.Frame) error) error
	// Close ends the link and does not wait. The reason reaches the peer if the
	// path allows. Close may be called again.
	Close(reason string)
}

// Info describes a link.
type Info struct {
	Peer   ident.PeerID // the remote peer, which has proved that it holds the key
	Dialed bool         // whether this side dialed the link
	Path   Path
}

// Path describes the path of a link. People read it, and the session chooses
// the best link by its Rank.
type Path struct {
	Rank      Rank   `json:"-"`
	Transport string `json:"transport"` // "quic", "tls", "tcp"
	Local     string `json:"local"`     // address and port
	Remote    string `json:"remote"`    // address and port
	Relay     string `json:"relay,omitempty"`
	Encrypted bool   `json:"encrypted"`
}

// Rank orders paths: a higher rank is better. It depends only on the kind of
// path, so both peers compute the same rank.
type Rank uint8

// The ranks, worst first.
const (
	RankRelayTLS Rank = 10 // QUIC through a relay reached over TLS on 443
	RankRelayTCP Rank = 20 // QUIC through a relay reached over TCP
	RankRelayUDP Rank = 30 // QUIC through a relay reached over UDP
	RankPlainTCP Rank = 40 // authenticated, not encrypted
	RankTLS      Rank = 50 // TLS over TCP, direct
	RankMapped   Rank = 60 // QUIC to a port that a router maps
	RankPunched  Rank = 70 // QUIC through NATs, opened by hole punching
	RankHost     Rank = 80 // QUIC between the machines' own addresses: LAN, IPv6
)

// String returns a name for people.
func (r Rank) String() string {
	switch r {
	case RankRelayTLS:
		return "relayed, over TLS"
	case RankRelayTCP:
		return "relayed, over TCP"
	case RankRelayUDP:
		return "relayed"
	case RankPlainTCP:
		return "direct TCP, not encrypted"
	case RankTLS:
		return "direct TLS"
	case RankMapped:
		return "direct, through a mapped port"
	case RankPunched:
		return "direct, through both NATs"
	case RankHost:
		return "direct"
	}
	return "unknown"
}

// Relayed reports whether a relay carries the packets.
func (r Rank) Relayed() bool { return r <= RankRelayUDP }

// Stats holds counters and measurements of a link; 0 where nothing is measured yet.
type Stats struct {
	RTT    time.Duration // smoothed
	MinRTT time.Duration // the least, so without the queue that the link itself fills
	Loss   float64       // share of the sent packets, 0 to 1, never NaN; over QUIC, of those sent lately
	// Rate counts the bytes per second that the path delivered to the peer when this side
	// last had enough to send to fill it.
	Rate          float64
	BytesSent     uint64
	BytesReceived uint64
}
