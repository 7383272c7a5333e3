// Package audit keeps the audit log: what administrators and peers did, and
// which requests were refused.
//
// A store that changes something on behalf of somebody writes the event in the
// same transaction. Refusals change nothing; [Log] counts them and writes a
// bounded number of events a minute, so that a flood of refused requests cannot
// overload the database.
package audit

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Store keeps events.
type Store interface {
	// AddEvents keeps events, at most registry.MaxBatch, in their order.
	AddEvents(ctx context.Context, events []Event) error
	// Events returns events, newest first.
	Events(ctx context.Context, q Query) ([]Event, error)
}

// Bounds of the log. Refusals have a bound of their own, so that a flood of them
// does not displace other events.
const (
	Retention   = 90 * 24 * time.Hour
	MaxRefusals = 5_000   // events of refusals
	MaxEvents   = 200_000 // other events
	MaxDetail   = 200     // characters of an event's detail
)

// Event is one row of the audit log.
type Event struct {
	Number int64 // position in the log, assigned by the store
	At     time.Time
	Kind   Kind
	Actor  string       // "server", "peer", "stranger", or "admin" and the ID of the token
	Peer   ident.PeerID // the peer that the event concerns; zero if none
	Other  ident.PeerID // the other peer of a pairing; zero otherwise
	Source string       // the requester's IPv4 address or IPv6 /64; "" if unknown
	Detail string       // text of at most MaxDetail characters; never a secret
	Count  int          // number of occurrences
}

// Kind is the kind of an event.
type Kind string

// The kinds.
const (
	KindRegistered      Kind = "registered"      // a new peer
	KindRefused         Kind = "refused"         // detail: the request and the reason
	KindPaired          Kind = "paired"          // the confirmation of a pairing was delivered
	KindPeerRenamed     Kind = "peer_renamed"    // by an administrator
	KindPeerLeft        Kind = "peer_left"       // at its own request
	KindPeerRevoked     Kind = "peer_revoked"    //
	KindPeerReadmitted  Kind = "peer_readmitted" //
	KindPeerApproved    Kind = "peer_approved"   // to register without an invite
	KindPeerDisapproved Kind = "peer_disapproved"
	KindInviteCreated   Kind = "invite_created" // detail: its ID and label
	KindInviteRevoked   Kind = "invite_revoked" // detail: its ID
	KindTokenCreated    Kind = "token_created"  // detail: its ID, scopes and label
	KindTokenRevoked    Kind = "token_revoked"  // detail: its ID
	KindSignedIn        Kind = "signed_in"      // to the admin page; detail: the ID of the sign-in
	KindSignedOut       Kind = "signed_out"     // detail: the ID of the sign-in
)

// Kinds holds every kind.
var Kinds = []Kind{
	KindRegistered, KindRefused, KindPaired, KindPeerRenamed, KindPeerLeft, KindPeerRevoked, KindPeerReadmitted,
	KindPeerApproved, KindPeerDisapproved,
	KindInviteCreated, KindInviteRevoked, KindTokenCreated, KindTokenRevoked,
	KindSignedIn, KindSignedOut,
}

// Query selects part of the audit log.
type Query struct {
	Before int64        // only events with a lower number; 0 selects all
	Limit  int          // at least 1
	Kind   Kind         // only events of this kind; "" selects all
	Peer   ident.PeerID // only events that concern this peer; zero selects all
}

// Origin is the sender of a request.
type Origin struct {
	Actor  string       // as in Event; "" is the server itself
	Source netip.Prefix // zero if unknown
}

type originKey struct{}

// WithOrigin returns a context of a request from o.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns the origin of a context. Without one it is the server.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	if o.Actor == "" {
		o.Actor = "server"
	}
	return o
}

// NewEvent returns an event that the origin of ctx caused. The caller fills in
// the peers and the detail.
func NewEvent(ctx context.Context, now time.Time, kind Kind) Event {
	o := OriginOf(ctx)
	return Event{At: now, Kind: kind, Actor: o.Actor, Source: sourceText(o.Source), Count: 1}
}

// sourceText returns an address, or a prefix if it covers several addresses.
func sourceText(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return ""
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

// Detail joins the parts that are not empty with spaces, and cuts the result to
// MaxDetail characters.
func Detail(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	d := []rune(strings.Join(kept, " "))
	return string(d[:min(len(d), MaxDetail)])
}
