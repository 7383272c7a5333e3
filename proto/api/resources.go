package api

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Server is what a rendezvous says of itself to anyone.
type Server struct {
	Name       string   `json:"name" maxLength:"64" doc:"the name its operator gave it" example:"Home"`
	Version    string   `json:"version" maxLength:"64" doc:"the version of the software" example:"1.0.0"`
	Region     string   `json:"region,omitempty" maxLength:"64" doc:"where the instance that answers stands, as its operator calls that" example:"eu-west"`
	SignalALPN string   `json:"signal_alpn" maxLength:"64" doc:"TLS protocol name of signalling connections, on the port of this interface" example:"easyfind/1"`
	SignalPath string   `json:"signal_path" maxLength:"64" doc:"the same as a WebSocket, for networks and reverse proxies that do not let it pass" example:"/v1/signal"`
	STUN       []string `json:"stun" nullable:"false" maxItems:"16" maxLength:"256" doc:"STUN URIs (RFC 7064)" example:"stun:rv.example.org:3478"`
	TURN       []string `json:"turn" nullable:"false" maxItems:"16" maxLength:"256" doc:"TURN URIs (RFC 7065); the credentials come from /v1/relay-credentials" example:"turn:rv.example.org:3478?transport=udp"`
	Open       bool     `json:"open" doc:"whether peers may register without an invite" example:"false"`
}

// Challenge is what a registration must sign.
type Challenge struct {
	Challenge []byte    `json:"challenge" maxLength:"88" doc:"opaque; good for one registration" example:"9Zt4qB1W3n0pXkVdU7hQmgAAAABl4fzAE8tQ5m4aY3P0b2lSg0JkKw=="`
	Expires   time.Time `json:"expires" doc:"the latest moment for the registration" example:"2026-03-01T12:02:00Z"`
	Bind      Bind      `json:"bind" maxLength:"8" enum:"tls,origin" doc:"what the signature must cover: the exporter of this TLS connection, or the server's origin where a reverse proxy ends TLS" example:"tls"`
}

// Bind is what a registration is bound to.
type Bind string

// The bindings.
const (
	BindTLS    Bind = "tls"
	BindOrigin Bind = "origin"
)

// Registered is the answer to a registration.
type Registered struct {
	ID    ident.PeerID `json:"id" maxLength:"63" doc:"the peer that the key is" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Name  string       `json:"name" maxLength:"64" example:"Workshop PC"`
	Token string       `json:"token" maxLength:"128" doc:"the bearer token; it is shown this once, and ends the one before" example:"ef_BgTzZUyk7NutD5R7g5LXs4ZlJO5NAhA7aDBwCtLYJEANtzHnz0HgiQ"`
}

// Peer is a peer as those see it whom it allows.
type Peer struct {
	ID        ident.PeerID `json:"id" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	PublicKey []byte       `json:"public_key" maxLength:"44" doc:"Ed25519" example:"A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="`
	Name      string       `json:"name" maxLength:"64" example:"Workshop PC"`
	Created   time.Time    `json:"created" doc:"when it first registered" example:"2026-03-01T12:00:00Z"`
	Online    bool         `json:"online" doc:"whether it has a signalling connection" example:"true"`
}

// PeerChange is what a peer may change of itself.
type PeerChange struct {
	Name string `json:"name" minLength:"1" maxLength:"64" doc:"printable characters" example:"Workshop PC"`
}

// Allowance says that a peer may find and signal the caller.
type Allowance struct {
	Peer  ident.PeerID `json:"peer" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Since time.Time    `json:"since" example:"2026-03-01T12:00:00Z"`
}

// Allowances is everyone whom the caller allows, ordered by ID.
type Allowances struct {
	Allowed []Allowance `json:"allowed" nullable:"false" maxItems:"1024"`
}

// Mailbox is an open pairing mailbox.
type Mailbox struct {
	Address ident.Address `json:"address" maxLength:"7" doc:"what the other person types, beside the PIN" example:"2D2-D23"`
	Expires time.Time     `json:"expires" example:"2026-03-01T12:02:00Z"`
	Tries   int           `json:"tries" minimum:"0" maximum:"3" doc:"how many tries it takes" example:"3"`
}

// Message is one message of a pairing. The rendezvous does not read it.
type Message struct {
	Body []byte `json:"body" minLength:"1" maxLength:"5464" doc:"at most 4096 bytes" example:"aGVsbG8="`
}

// Try is one attempt to pair through a mailbox. The mailbox's owner and the
// peer that made the try may see it, nobody else.
type Try struct {
	Number       int          `json:"number" minimum:"1" maximum:"3" example:"1"`
	Peer         ident.PeerID `json:"peer" maxLength:"63" doc:"who made it" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Opening      []byte       `json:"opening" maxLength:"5464" doc:"the first message, from the peer that made the try" example:"aGVsbG8="`
	Answer       []byte       `json:"answer,omitempty" maxLength:"5464" doc:"the owner's message, once it is there" example:"d29ybGQ="`
	Confirmation []byte       `json:"confirmation,omitempty" maxLength:"5464" doc:"the last message, once it is there" example:"ZG9uZQ=="`
}

// Tries is the tries of a mailbox, in order.
type Tries struct {
	Tries []Try `json:"tries" nullable:"false" maxItems:"3"`
}

// RelayCredentials let a peer use the relay for a while (TURN, RFC 8656
// section 9.2).
type RelayCredentials struct {
	Username string    `json:"username" maxLength:"256" example:"1772366520:K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS:9f0c2b7d41aa35e6"`
	Password string    `json:"password" maxLength:"256" example:"kJm0Q2QmX7Jc1yTqPZr9sVw4hDdL6gE1aBQnwwrfUGq"`
	URIs     []string  `json:"uris" nullable:"false" maxItems:"16" maxLength:"256" doc:"TURN URIs (RFC 7065), best first" example:"turn:rv.example.org:3478?transport=udp"`
	Expires  time.Time `json:"expires" example:"2026-03-01T12:02:00Z"`
}
