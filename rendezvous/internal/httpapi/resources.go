package httpapi

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Resources are the parts of the registry that the interface serves. All of them
// are required.
type Resources struct {
	Registration   Registration
	Authentication Authentication
	Peers          Peers
	Allowances     Allowances
	Mailboxes      Mailboxes
	Tries          Tries
	PeerAdmin      PeerAdmin
	Revocations    Revocations
	Approvals      Approvals
	Invites        Invites
	Tokens         Tokens
	Audit          Audit
	Refusals       Refusals
	Instances      Instances
	Pairs          Pairs
	History        History
	Database       Database
}

// missing names a part that is not set, or returns "".
func (r Resources) missing() string {
	for name, part := range map[string]any{
		"registration": r.Registration, "authentication": r.Authentication, "peers": r.Peers,
		"allowances": r.Allowances, "mailboxes": r.Mailboxes, "tries": r.Tries,
		"administration of peers": r.PeerAdmin, "revocations": r.Revocations, "approvals": r.Approvals,
		"invites": r.Invites, "tokens": r.Tokens, "audit log": r.Audit, "count of refusals": r.Refusals,
		"instances": r.Instances, "pairs": r.Pairs, "history": r.History, "database": r.Database,
	} {
		if part == nil {
			return name
		}
	}
	return ""
}

// Registration registers peers.
type Registration interface {
	// Open reports whether a new peer may register without an invite.
	Open() bool
	// Challenge returns a challenge that a registration must sign.
	Challenge(ctx context.Context) (challenge []byte, expires time.Time, err error)
	// Register registers a peer or renews its token.
	Register(ctx context.Context, r api.Registration, by registry.Channel) (registry.Registered, error)
	// Peer returns a peer. Errors: registry.ErrPeerNotFound.
	Peer(ctx context.Context, id ident.PeerID) (registry.Peer, error)
}

// Authentication finds the peer or the administrator that a token belongs to.
type Authentication interface {
	Authenticate(ctx context.Context, token string) (ident.PeerID, error)
	AuthenticateAdmin(ctx context.Context, token string) (registry.AdminToken, error)
}

// Peers lets a peer find others and change its own entry.
type Peers interface {
	// Lookup returns a peer that allows the caller, or the caller itself.
	Lookup(ctx context.Context, caller, id ident.PeerID) (registry.Peer, error)
	Rename(ctx context.Context, id ident.PeerID, name string) (registry.Peer, error)
	Leave(ctx context.Context, id ident.PeerID) error
}

// Allowances keeps which peers may find and signal an owner.
type Allowances interface {
	Allow(ctx context.Context, owner, peer ident.PeerID) (since time.Time, err error)
	Disallow(ctx context.Context, owner, peer ident.PeerID) error
	Allowance(ctx context.Context, owner, peer ident.PeerID) (registry.Allowance, error)
	AllowedBy(ctx context.Context, owner ident.PeerID) ([]registry.Allowance, error)
}

// Mailboxes opens and closes pairing mailboxes.
type Mailboxes interface {
	OpenMailbox(ctx context.Context, owner ident.PeerID) (registry.Mailbox, error)
	CloseMailbox(ctx context.Context, owner ident.PeerID, a ident.Address) error
}

// Tries carries the messages of the tries at a mailbox.
type Tries interface {
	Try(ctx context.Context, caller ident.PeerID, a ident.Address, opening []byte) (registry.Try, error)
	// Tries returns the tries with a number above after. It waits up to wait for
	// the first one.
	Tries(
		ctx context.Context, owner ident.PeerID, a ident.Address, after int, wait time.Duration,
	) ([]registry.Try, error)
	// AwaitTry returns a try. It waits up to wait for the next message of the other
	// side.
	AwaitTry(
		ctx context.Context, caller ident.PeerID, a ident.Address, number int, wait time.Duration,
	) (registry.Try, error)
	Answer(ctx context.Context, owner ident.PeerID, a ident.Address, number int, body []byte) error
	Confirm(ctx context.Context, caller ident.PeerID, a ident.Address, number int, body []byte) error
}

// PeerAdmin lets administrators read and change peers. A version of 0 stands for
// any version.
type PeerAdmin interface {
	Peers(ctx context.Context, q registry.PeerQuery) ([]registry.PeerAt, error)
	PeerAt(ctx context.Context, id ident.PeerID) (registry.PeerAt, error)
	NamePeer(ctx context.Context, id ident.PeerID, name string, version int64) (registry.PeerAt, error)
	RevokePeer(ctx context.Context, id ident.PeerID, version int64) error
}

// Revocations keeps the revoked peers.
type Revocations interface {
	// Revocations returns the revocations with a number above since.
	Revocations(ctx context.Context, since int64, limit int) ([]registry.Revocation, error)
	Readmit(ctx context.Context, id ident.PeerID) error
}

// Approvals keeps the peers that ask to join, and those that may join without an
// invite.
type Approvals interface {
	Asking(ctx context.Context) ([]registry.Asking, error)
	Approvals(ctx context.Context, after ident.PeerID, limit int) ([]registry.Approval, error)
	Approve(ctx context.Context, id ident.PeerID) (registry.Approval, error)
	Disapprove(ctx context.Context, id ident.PeerID) error
}

// Invites keeps the invites.
type Invites interface {
	CreateInvite(ctx context.Context, s registry.InviteSpec) (code string, i registry.Invite, err error)
	Invite(ctx context.Context, id registry.InviteID) (registry.Invite, error)
	Invites(ctx context.Context, p registry.Page) ([]registry.Invite, error)
	RevokeInvite(ctx context.Context, id registry.InviteID) error
}

// Tokens keeps the administrators' tokens.
type Tokens interface {
	RedeemAdminLink(ctx context.Context, code, label string) (token string, t registry.AdminToken, err error)
	CreateToken(ctx context.Context, s registry.TokenSpec) (token string, t registry.AdminToken, err error)
	Token(ctx context.Context, id registry.TokenPrefix) (registry.AdminToken, error)
	Tokens(ctx context.Context, p registry.Page) ([]registry.AdminToken, error)
	RevokeToken(ctx context.Context, id registry.TokenPrefix) error
}

// Audit reads the audit log.
type Audit interface {
	Events(ctx context.Context, q registry.EventQuery) ([]registry.Event, error)
}

// Refusals counts refused requests for the audit log.
type Refusals interface {
	// Refused counts the refusal of a request; peer is zero if it is not known.
	Refused(ctx context.Context, request string, peer ident.PeerID, err error)
}

// Instances lists the running instances.
type Instances interface {
	Instances(ctx context.Context) ([]registry.InstanceAt, error)
}

// Pairs lists the pairs of peers that have a link.
type Pairs interface {
	Pairs(ctx context.Context, q registry.PairQuery) ([]registry.Pair, error)
}

// History reads the figures of the past.
type History interface {
	History(ctx context.Context, span, step time.Duration) ([]registry.Span, error)
	// RelayUse returns the peers that used the relay most in the last days.
	RelayUse(ctx context.Context, days, limit int) ([]registry.RelayUse, error)
	// RelayDays returns the use of the relay by the day, of one peer or of all.
	RelayDays(ctx context.Context, days int, peer ident.PeerID) ([]registry.RelayDay, error)
}

// Database is the store behind the registry.
type Database interface {
	// Ready returns an error unless the database takes writes.
	Ready(ctx context.Context) error
}
