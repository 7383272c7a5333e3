// Package link is the ladder of ways to reach a peer, and what every rung of
// it is in the end: a [Link].
package link

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Link is an authenticated connection to one peer over one path. It carries
// frames; lanes are independent of each other as far as the path allows.
type Link interface {
	// Info describes the link. The answer never changes.
	Info() Info
	// Stats returns what is measured now.
	Stats() Stats
	// Send writes a frame behind those sent before on its lane. It blocks while
	// the path takes no more, and may be called concurrently for different
	// lanes. Its error is final: the link has ended.
	Send(f tunnel.Frame) error
	// EndLane says that no more frames will be sent on a lane and lets go of
	// what it holds for it.
	EndLane(lane tunnel.Lane)
	// Run delivers what arrives until the link ends, and returns why: nil after
	// Close or when ctx ends. It is called once. deliver is called in order
	// within a lane and concurrently for different lanes; an error of it ends
	// the link. Blocking in it holds up its lane, at worst the whole link.
	Run(ctx context.Context, deliver func(tunnel.Frame) error) error
	// Close ends the link; the reason reaches the other end where the path
	// allows. It does not wait. Closing twice is fine.
	Close(reason string)
}

// Info describes a link.
type Info struct {
	Peer   ident.PeerID // the remote peer, which has proved that it holds the key
	Dialed bool         // whether this side dialed the link
	Path   Path
}

// Path describes how a link gets to its peer, for people and for choosing.
type Path struct {
	Rank      Rank   `json:"-"`
	Transport string `json:"transport"` // "quic", "tls", "tcp"
	Local     string `json:"local"`     // address and port
	Remote    string `json:"remote"`    // address and port
	Relay     string `json:"relay,omitempty"`
	Encrypted bool   `json:"encrypted"`
}

// Rank orders paths: a higher one is better. Both ends must compute the same,
// so it depends on the kind of path alone.
type Rank uint8

// The rungs of the ladder.
const (
	RankRelayTLS Rank = 10 // QUIC through a relay reached over TLS on 443
	RankRelayTCP Rank = 20 // QUIC through a relay reached over TCP
	RankRelayUDP Rank = 30 // QUIC through a relay reached over UDP
	RankPlainTCP Rank = 40 // authenticated, not encrypted
	RankTLS      Rank = 50 // TLS over TCP, direct
	RankMapped   Rank = 60 // QUIC to a port that a router mapped
	RankPunched  Rank = 70 // QUIC through punched NATs
	RankHost     Rank = 80 // QUIC between addresses of the hosts themselves: LAN, IPv6
)

// String names the rung in a person's words.
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

// Stats are a link's counters.
type Stats struct {
	RTT           time.Duration // smoothed; 0 if not measured
	Loss          float64       // of packets sent, 0 to 1; NaN-free, 0 if not measured
	BytesSent     uint64
	BytesReceived uint64
}
