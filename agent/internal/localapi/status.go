package localapi

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Status is the state of the agent.
type Status struct {
	Self       Self         `json:"self"`
	Rendezvous Rendezvous   `json:"rendezvous"`
	NAT        string       `json:"nat"` // a sentence, such as "port-restricted NAT, UDP gets through"
	Peers      []PeerStatus `json:"peers"`
	Uses       []Use        `json:"uses"`
	Exports    []Export     `json:"exports"`
}

// Self describes the agent itself.
type Self struct {
	ID      ident.PeerID `json:"id"`
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Since   time.Time    `json:"since"`  // when it started
	Listen  []string     `json:"listen"` // "udp 0.0.0.0:41641", "tls [::]:7574", "usbip 127.0.0.1:3240"
	Notes   []string     `json:"notes,omitempty"`
}

// Rendezvous is the state of the connection to the rendezvous.
type Rendezvous struct {
	// Via is the kind of the connection: tls, websocket, or proxy for a WebSocket
	// through a reverse proxy. Empty: not connected.
	Via       string `json:"via,omitempty"`
	URL       string `json:"url,omitempty"` // without secrets; empty: no rendezvous is set
	Connected bool   `json:"connected"`
	Detail    string `json:"detail"` // a sentence
}

// PeerStatus is the state of the session with a peer.
type PeerStatus struct {
	ID      ident.PeerID `json:"id"`
	Name    string       `json:"name"`
	Session string       `json:"session"` // in words, such as "up", "no link for 4s of 60s", "idle"
	Up      bool         `json:"up"`
	Since   time.Time    `json:"since,omitzero"` // when Up last changed
	// Link is the link in use. nil: no link is up.
	Link *Link `json:"link,omitempty"`
	// WhyNoBetter explains why the link is not a better one, or why no link is up.
	WhyNoBetter string `json:"why_no_better,omitempty"`
	// Limit is the lower one of the limits of both machines, of each direction, in bits per second; 0: none.
	Limit       uint64   `json:"limit,omitempty"`
	Attachments []string `json:"attachments,omitempty"` // "2-1 Kingston DataTraveler (used here)"
}

// Link describes a link, its path and its counters.
type Link struct {
	Rank          string    `json:"rank"`      // "direct, through both NATs"
	Transport     string    `json:"transport"` // "quic", "tls", "tcp"
	Local         string    `json:"local"`
	Remote        string    `json:"remote"`
	Relay         string    `json:"relay,omitempty"`
	Encrypted     bool      `json:"encrypted"`
	RTTMillis     float64   `json:"rtt_ms"` // smoothed, in milliseconds; 0: not measured
	Loss          float64   `json:"loss"`   // of packets, 0 to 1
	BytesSent     uint64    `json:"bytes_sent"`
	BytesReceived uint64    `json:"bytes_received"`
	Since         time.Time `json:"since,omitzero"`
}

// Export is a device of this machine that a peer holds.
type Export struct {
	Device string    `json:"device"` // the bus id
	Name   string    `json:"name"`
	Peer   string    `json:"peer"`
	Since  time.Time `json:"since,omitzero"`
}
