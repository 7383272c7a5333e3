package api

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Server describes a rendezvous to everyone.
type Server struct {
	Name       string   `json:"name" maxLength:"64" doc:"the name that its operator chose"`
	Version    string   `json:"version" maxLength:"64" doc:"the version of the software"`
	Region     string   `json:"region,omitempty" maxLength:"64" doc:"the operator's name for the instance's location"`
	SignalALPN string   `json:"signal_alpn" maxLength:"64" doc:"TLS protocol name of signalling, on this port"`
	SignalPath string   `json:"signal_path" maxLength:"64" doc:"URL path of signalling over WebSocket"`
	STUN       []string `json:"stun" maxItems:"16" maxLength:"256" doc:"STUN URIs (RFC 7064)"`
	TURN       []string `json:"turn" maxItems:"16" maxLength:"256" doc:"TURN URIs (RFC 7065)"`
	Open       bool     `json:"open" doc:"whether peers may register without an invite"`
}

// Challenge is a random value that a registration must sign.
type Challenge struct {
	Challenge []byte    `json:"challenge" maxLength:"88" doc:"opaque; valid for one registration"`
	Expires   time.Time `json:"expires" doc:"the end of the challenge's validity"`
	Bind      Bind      `json:"bind" maxLength:"8" enum:"tls,origin" doc:"sign the TLS exporter or the server's origin"`
}

// Bind names what the signature of a registration must cover.
type Bind string

// The kinds of binding.
const (
	BindTLS    Bind = "tls"    // the exporter of the TLS connection
	BindOrigin Bind = "origin" // the server's origin, because a reverse proxy ends TLS
)

// RegisterResult is the answer to a registration.
type RegisterResult struct {
	ID    ident.PeerID `json:"id" maxLength:"63" doc:"the PeerID of the key"`
	Name  string       `json:"name" maxLength:"64"`
	Token string       `json:"token" maxLength:"128" doc:"the bearer token, shown once; it replaces the previous one"`
}

// Peer describes a peer to the peers that it allows.
type Peer struct {
	ID        ident.PeerID `json:"id" maxLength:"63"`
	PublicKey []byte       `json:"public_key" maxLength:"44" doc:"Ed25519"`
	Name      string       `json:"name" maxLength:"64"`
	Created   time.Time    `json:"created" doc:"the time of the first registration"`
	Online    bool         `json:"online" doc:"whether it has a signalling connection"`
}

// PeerChange changes a peer.
type PeerChange struct {
	Name string `json:"name" minLength:"1" maxLength:"64" doc:"printable characters"`
}

// Allowance lets a peer find and signal the caller.
type Allowance struct {
	Peer  ident.PeerID `json:"peer" maxLength:"63"`
	Since time.Time    `json:"since"`
}

// Allowances lists the peers that the caller allows, ordered by ID.
type Allowances struct {
	Allowed []Allowance `json:"allowed" maxItems:"1024"`
}

// Mailbox is an open pairing mailbox.
type Mailbox struct {
	Address ident.Address `json:"address" maxLength:"7" doc:"the other person types it, followed by the PIN"`
	Expires time.Time     `json:"expires"`
	Tries   int           `json:"tries" minimum:"0" maximum:"3" doc:"the number of tries that it accepts"`
}

// Message is one message of a pairing. The rendezvous does not interpret it.
type Message struct {
	Body []byte `json:"body" minLength:"1" maxLength:"5464" doc:"at most 4096 bytes"`
}

// Try is one attempt to pair through a mailbox. Only the mailbox's owner and the peer
// that made the try can see it.
type Try struct {
	Number       int          `json:"number" minimum:"1" maximum:"3"`
	Peer         ident.PeerID `json:"peer" maxLength:"63" doc:"the peer that made the try"`
	Opening      []byte       `json:"opening" maxLength:"5464" doc:"the first message, from that peer"`
	Answer       []byte       `json:"answer,omitempty" maxLength:"5464" doc:"the owner's message, once it is sent"`
	Confirmation []byte       `json:"confirmation,omitempty" maxLength:"5464" doc:"the last message, once it is sent"`
}

// Tries lists the tries of a mailbox in order.
type Tries struct {
	Tries []Try `json:"tries" maxItems:"3"`
}

// RelayCredentials let a peer use the relay for a limited time (TURN, RFC 8656
// section 9.2).
type RelayCredentials struct {
	Username string    `json:"username" maxLength:"256"`
	Password string    `json:"password" maxLength:"256"`
	URIs     []string  `json:"uris" maxItems:"16" maxLength:"256" doc:"TURN URIs (RFC 7065), best first"`
	Expires  time.Time `json:"expires"`
}
