package localapi

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Status is all that an agent knows of itself now.
type Status struct {
	Self       Self         `json:"self"`
	Rendezvous Rendezvous   `json:"rendezvous"`
	NAT        string       `json:"nat"` // a sentence: "port-restricted NAT, UDP gets through"
	Peers      []PeerStatus `json:"peers"`
	Uses       []Use        `json:"uses"`
	Exports    []Export     `json:"exports"`
}

// Self is the agent.
type Self struct {
	ID      ident.PeerID `json:"id"`
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Since   time.Time    `json:"since"`  // it runs
	Listen  []string     `json:"listen"` // "udp 0.0.0.0:41641", "tls [::]:7574", "usbip 127.0.0.1:3240"
	Notes   []string     `json:"notes,omitempty"`
}

// Rendezvous is the state of the connection to it.
type Rendezvous struct {
	Via       string `json:"via,omitempty"` // how, while connected: tls, websocket, or proxy: a WebSocket through a reverse proxy
	URL       string `json:"url,omitempty"` // without secrets; empty if none is set
	Connected bool   `json:"connected"`
	Detail    string `json:"detail"` // a sentence
}

// PeerStatus is what this machine has with a peer.
type PeerStatus struct {
	ID      ident.PeerID `json:"id"`
	Name    string       `json:"name"`
	Session string       `json:"session"` // "up", "no link for 4s of 60s", "idle": a person's words
	Up      bool         `json:"up"`
	Since   time.Time    `json:"since,omitzero"` // up or down
	// Link is the one that carries the session, nil if there is none.
	Link *Link `json:"link,omitempty"`
	// WhyNoBetter explains why the path is not a better one, or why there is none.
	WhyNoBetter string   `json:"why_no_better,omitempty"`
	Attachments []string `json:"attachments,omitempty"` // "2-1 Kingston DataTraveler (used here)"
}

// Link is a link with its path and counters.
type Link struct {
	Rank          string    `json:"rank"`      // "direct, through both NATs"
	Transport     string    `json:"transport"` // "quic", "tls", "tcp"
	Local         string    `json:"local"`
	Remote        string    `json:"remote"`
	Relay         string    `json:"relay,omitempty"`
	Encrypted     bool      `json:"encrypted"`
	RTTMillis     float64   `json:"rtt_ms"` // smoothed, milliseconds; 0 if not measured
	Loss          float64   `json:"loss"`   // of packets, 0 to 1
	BytesSent     uint64    `json:"bytes_sent"`
	BytesReceived uint64    `json:"bytes_received"`
	Since         time.Time `json:"since,omitzero"`
}

// Export is a device of this machine that a peer has now.
type Export struct {
	Device string    `json:"device"` // bus id
	Name   string    `json:"name"`
	Peer   string    `json:"peer"`
	Since  time.Time `json:"since,omitzero"`
}
