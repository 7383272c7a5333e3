package registry

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// AdminStore keeps the administrators' tokens and the link for the first one.
// What changes something takes the event that tells of it, and keeps both or
// neither.
type AdminStore interface {
	// PutAdminLink keeps a link in place of the one before. Unless again, it
	// does so only if there is neither a link that is good nor a token that
	// covers everything. It returns the link that is good then, zero if none.
	PutAdminLink(ctx context.Context, l AdminLink, now time.Time, again bool) (good Digest, err error)
	// RedeemAdminLink uses a link up and keeps the token. Errors: ErrAdminLink.
	RedeemAdminLink(ctx context.Context, link Digest, t AdminToken, e Event) error
	// PutAdminToken keeps a token and returns it as it is kept: one that is
	// there already stays as it is. Errors: ErrTokenLimit beyond max tokens, or
	// beyond max sessions of the same parent if it is a session.
	PutAdminToken(ctx context.Context, t AdminToken, max int, e Event) (AdminToken, error)
	// AdminToken returns a token. Errors: ErrTokenNotFound.
	AdminToken(ctx context.Context, id TokenPrefix) (AdminToken, error)
	// AdminTokens returns a page of the tokens, oldest first.
	AdminTokens(ctx context.Context, p Page) ([]AdminToken, error)
	// RevokeAdminToken ends a token for good. Twice is fine and no second
	// event. Errors: ErrTokenNotFound.
	RevokeAdminToken(ctx context.Context, id TokenPrefix, e Event) error
}

// AuditStore keeps what happened.
type AuditStore interface {
	// AddEvents keeps events, at most MaxBatch, in their order.
	AddEvents(ctx context.Context, events []Event) error
	// Events returns events, newest first.
	Events(ctx context.Context, q EventQuery) ([]Event, error)
}

// Page asks for part of a list that is ordered by when its items were made.
type Page struct {
	After Cursor
	Limit int // at least 1
}

// Cursor is an item's place in such a list. The zero value is before the first.
type Cursor struct {
	At time.Time
	ID [8]byte
}

// AdminLink lets one person have a token that covers everything.
type AdminLink struct {
	Hash    Digest
	Expires time.Time
}

// AdminToken is a token of an administrator, or the session of a browser that is
// signed in.
type AdminToken struct {
	ID      TokenPrefix // its public beginning
	Hash    Digest
	Label   string
	Scopes  Scopes
	Created time.Time
	Expires time.Time
	Revoked bool
	Session bool
	Parent  TokenPrefix // the token that opened the session; zero if it was the one-time link
}

// Event is one row of the audit log.
type Event struct {
	Number int64 // its place in the log, counted by the store
	At     time.Time
	Kind   EventKind
	Actor  string       // who did it: "server", "peer", "stranger", or "admin" and the token's ID
	Peer   ident.PeerID // whom it is about; zero if nobody
	Other  ident.PeerID // the other peer of a pairing; zero otherwise
	Source string       // from where it was asked: an IPv4 address or an IPv6 /64; "" if unknown
	Detail string       // in words, at most MaxDetail characters; never a secret
	Count  int          // how often it happened
}

// EventKind is what happened.
type EventKind string

// The events.
const (
	EventRegistered      EventKind = "registered"      // a new peer
	EventRefused         EventKind = "refused"         // detail says what and why, count how often
	EventPaired          EventKind = "paired"          // a pairing's confirmation was handed over
	EventPeerRenamed     EventKind = "peer_renamed"    // by an administrator
	EventPeerLeft        EventKind = "peer_left"       // of its own accord
	EventPeerRevoked     EventKind = "peer_revoked"    //
	EventPeerReadmitted  EventKind = "peer_readmitted" //
	EventPeerApproved    EventKind = "peer_approved"   // to register without an invite
	EventPeerDisapproved EventKind = "peer_disapproved"
	EventInviteCreated   EventKind = "invite_created" // detail is its ID and label
	EventInviteRevoked   EventKind = "invite_revoked" // detail is its ID
	EventTokenCreated    EventKind = "token_created"  // detail is its ID, scopes and label
	EventTokenRevoked    EventKind = "token_revoked"  // detail is its ID
	EventSignedIn        EventKind = "signed_in"      // to the administrators' page; detail is the session's ID
	EventSignedOut       EventKind = "signed_out"     // detail is the session's ID
)

// EventKinds is every event.
var EventKinds = []EventKind{
	EventRegistered, EventRefused, EventPaired, EventPeerRenamed, EventPeerLeft, EventPeerRevoked, EventPeerReadmitted,
	EventPeerApproved, EventPeerDisapproved,
	EventInviteCreated, EventInviteRevoked, EventTokenCreated, EventTokenRevoked,
	EventSignedIn, EventSignedOut,
}

// MaxDetail bounds the detail of an event, in characters.
const MaxDetail = 200

// EventQuery asks for part of the audit log.
type EventQuery struct {
	Before int64        // only events with a lower number; 0 is all
	Limit  int          // at least 1
	Kind   EventKind    // only these; "" is all
	Peer   ident.PeerID // only those about it; zero is all
}
