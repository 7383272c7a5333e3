package api

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Server is what a rendezvous says of itself to anyone.
type Server struct {
	Name       string   `json:"name" maxLength:"64" doc:"the name its operator gave it"`
	Version    string   `json:"version" maxLength:"64" doc:"the version of the software"`
	Region     string   `json:"region,omitempty" maxLength:"64" doc:"where the instance that answers stands, as its operator calls that" example:"eu-west"`
	SignalALPN string   `json:"signal_alpn" maxLength:"64" doc:"TLS protocol name of signalling connections, on the port of this interface"`
	STUN       []string `json:"stun" nullable:"false" maxItems:"16" maxLength:"256" doc:"STUN URIs (RFC 7064)"`
	TURN       []string `json:"turn" nullable:"false" maxItems:"16" maxLength:"256" doc:"TURN URIs (RFC 7065); the credentials come from /v1/relay-credentials"`
	Open       bool     `json:"open" doc:"whether peers may register without an invite"`
}

// Challenge is what a registration must sign.
type Challenge struct {
	Challenge []byte    `json:"challenge" maxLength:"88" doc:"opaque; good for one registration"`
	Expires   time.Time `json:"expires" doc:"the latest moment for the registration"`
}

// Registered is the answer to a registration.
type Registered struct {
	ID    ident.PeerID `json:"id" maxLength:"63" doc:"the peer that the key is"`
	Name  string       `json:"name" maxLength:"64"`
	Token string       `json:"token" maxLength:"128" doc:"the bearer token; it is shown this once, and ends the one before"`
}

// Peer is a peer as those see it whom it allows.
type Peer struct {
	ID        ident.PeerID `json:"id" maxLength:"63"`
	PublicKey []byte       `json:"public_key" maxLength:"44" doc:"Ed25519"`
	Name      string       `json:"name" maxLength:"64"`
	Created   time.Time    `json:"created" doc:"when it first registered"`
	Online    bool         `json:"online" doc:"whether it has a signalling connection"`
}

// PeerChange is what a peer may change of itself.
type PeerChange struct {
	Name string `json:"name" minLength:"1" maxLength:"64" doc:"printable characters"`
}

// Allowance says that a peer may find and signal the caller.
type Allowance struct {
	Peer  ident.PeerID `json:"peer" maxLength:"63"`
	Since time.Time    `json:"since"`
}

// Allowances is everyone whom the caller allows, ordered by ID.
type Allowances struct {
	Allowed []Allowance `json:"allowed" nullable:"false" maxItems:"1024"`
}

// Mailbox is an open pairing mailbox.
type Mailbox struct {
	Address ident.Address `json:"address" maxLength:"7" doc:"what the other person types, beside the PIN"`
	Expires time.Time     `json:"expires"`
	Tries   int           `json:"tries" minimum:"0" maximum:"3" doc:"how many tries it takes"`
}

// Message is one message of a pairing. The rendezvous does not read it.
type Message struct {
	Body []byte `json:"body" minLength:"1" maxLength:"5464" doc:"at most 4096 bytes"`
}

// Try is one attempt to pair through a mailbox. The mailbox's owner and the
// peer that made the try may see it, nobody else.
type Try struct {
	Number       int          `json:"number" minimum:"1" maximum:"3"`
	Peer         ident.PeerID `json:"peer" maxLength:"63" doc:"who made it"`
	Opening      []byte       `json:"opening" maxLength:"5464" doc:"the first message, from the peer that made the try"`
	Answer       []byte       `json:"answer,omitempty" maxLength:"5464" doc:"the owner's message, once it is there"`
	Confirmation []byte       `json:"confirmation,omitempty" maxLength:"5464" doc:"the last message, once it is there"`
}

// Tries is the tries of a mailbox, in order.
type Tries struct {
	Tries []Try `json:"tries" nullable:"false" maxItems:"3"`
}

// RelayCredentials let a peer use the relay for a while (TURN, RFC 8656
// section 9.2).
type RelayCredentials struct {
	Username string    `json:"username" maxLength:"256"`
	Password string    `json:"password" maxLength:"256"`
	URIs     []string  `json:"uris" nullable:"false" maxItems:"16" maxLength:"256" doc:"TURN URIs (RFC 7065), best first"`
	Expires  time.Time `json:"expires"`
}
