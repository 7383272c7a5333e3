package httpapi

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Resources are the parts of the registry that the interface serves. All of them
// are required.
type Resources struct {
	Registration Registration
	PeerTokens   PeerTokens
	AdminTokens  AdminTokens
	Peers        Peers
	Allowances   Allowances
	Mailboxes    Mailboxes
	Tries        Tries
	PeerAdmin    PeerAdmin
	Revocations  Revocations
	Approvals    Approvals
	JoinRequests JoinRequests
	Invites      Invites
	Tokens       Tokens
	Audit        Audit
	Refusals     Refusals
	Instances    Instances
	Pairs        Pairs
	History      History
	Database     Database
}

// missing names a part that is not set, or returns "".
func (r Resources) missing() string {
	for name, part := range map[string]any{
		"registration": r.Registration, "peers": r.Peers,
		"tokens of peers": r.PeerTokens, "tokens of administrators": r.AdminTokens,
		"allowances": r.Allowances, "mailboxes": r.Mailboxes, "tries": r.Tries,
		"administration of peers": r.PeerAdmin, "revocations": r.Revocations,
		"approvals": r.Approvals, "join requests": r.JoinRequests,
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
	Register(ctx context.Context, r api.Registration, by peers.Channel) (peers.RegistrationResult, error)
}

// PeerTokens finds the peer that a token belongs to.
type PeerTokens interface {
	Authenticate(ctx context.Context, token string) (ident.PeerID, error)
}

// AdminTokens finds the administrator that a token belongs to.
type AdminTokens interface {
	AuthenticateAdmin(ctx context.Context, token string) (administration.Token, error)
}

// Peers lets a peer find others and change its own entry.
type Peers interface {
	// Peer returns a peer. Errors: peers.ErrNotFound.
	Peer(ctx context.Context, id ident.PeerID) (peers.Peer, error)
	// Lookup returns the owner of a permission: a peer that allows the caller, or
	// the caller itself.
	Lookup(ctx context.Context, p peers.Permission) (peers.Peer, error)
	Rename(ctx context.Context, id ident.PeerID, name string) (peers.Peer, error)
}

// Allowances keeps which peers may find and signal an owner.
type Allowances interface {
	Allow(ctx context.Context, p peers.Permission) (since time.Time, err error)
	Disallow(ctx context.Context, p peers.Permission) error
	Allowance(ctx context.Context, p peers.Permission) (peers.Allowance, error)
	AllowedBy(ctx context.Context, owner ident.PeerID) ([]peers.Allowance, error)
}

// Mailboxes opens and closes pairing mailboxes.
type Mailboxes interface {
	OpenMailbox(ctx context.Context, owner ident.PeerID) (mailboxes.Mailbox, error)
	CloseMailbox(ctx context.Context, owner ident.PeerID, a ident.Address) error
}

// Tries carries the messages of the tries at a mailbox.
type Tries interface {
	Try(ctx context.Context, caller ident.PeerID, a ident.Address, opening []byte) (mailboxes.Try, error)
	// Tries returns the tries with a number above after. It waits up to wait for
	// the first one.
	Tries(
		ctx context.Context, owner ident.PeerID, a ident.Address, after int, wait time.Duration,
	) ([]mailboxes.Try, error)
	// AwaitTry returns a try. It waits up to wait for the next message of the other
	// side.
	AwaitTry(ctx context.Context, caller ident.PeerID, ref mailboxes.TryRef, wait time.Duration) (mailboxes.Try, error)
	Answer(ctx context.Context, owner ident.PeerID, ref mailboxes.TryRef, body []byte) error
	Confirm(ctx context.Context, caller ident.PeerID, ref mailboxes.TryRef, body []byte) error
}

// PeerAdmin lets administrators read and change peers. A version of 0 stands for
// any version.
type PeerAdmin interface {
	Peers(ctx context.Context, q peers.Query) ([]peers.PeerStatus, error)
	PeerStatus(ctx context.Context, id ident.PeerID) (peers.PeerStatus, error)
	NamePeer(ctx context.Context, id ident.PeerID, name string, version int64) (peers.PeerStatus, error)
}

// Revocations removes peers, and keeps the revoked ones.
type Revocations interface {
	// Leave removes a peer at its own request.
	Leave(ctx context.Context, id ident.PeerID) error
	// RevokePeer revokes a peer; a version of 0 stands for any version.
	RevokePeer(ctx context.Context, id ident.PeerID, version int64) error
	// Revocations returns the revocations with a number above since.
	Revocations(ctx context.Context, since int64, limit int) ([]peers.Revocation, error)
	Readmit(ctx context.Context, id ident.PeerID) error
}

// JoinRequests keeps the peers that tried to register without an invite.
type JoinRequests interface {
	JoinRequests(ctx context.Context) ([]peers.JoinRequest, error)
}

// Approvals keeps the peers that may join without an invite.
type Approvals interface {
	Approvals(ctx context.Context, after ident.PeerID, limit int) ([]peers.Approval, error)
	Approve(ctx context.Context, id ident.PeerID) (peers.Approval, error)
	Disapprove(ctx context.Context, id ident.PeerID) error
}

// Invites keeps the invites.
type Invites interface {
	CreateInvite(ctx context.Context, s peers.InviteSpec) (code string, i peers.Invite, err error)
	Invite(ctx context.Context, id peers.InviteID) (peers.Invite, error)
	Invites(ctx context.Context, p registry.Page) ([]peers.Invite, error)
	RevokeInvite(ctx context.Context, id peers.InviteID) error
}

// Tokens keeps the administrators' tokens.
type Tokens interface {
	RedeemAdminLink(ctx context.Context, code, label string) (token string, t administration.Token, err error)
	CreateToken(ctx context.Context, s administration.TokenSpec) (token string, t administration.Token, err error)
	Token(ctx context.Context, id registry.TokenPrefix) (administration.Token, error)
	Tokens(ctx context.Context, p registry.Page) ([]administration.Token, error)
	RevokeToken(ctx context.Context, id registry.TokenPrefix) error
}

// Audit reads the audit log.
type Audit interface {
	Events(ctx context.Context, q audit.Query) ([]audit.Event, error)
}

// Refusals counts refused requests for the audit log.
type Refusals interface {
	// Refused counts the refusal of a request; peer is zero if it is not known.
	Refused(ctx context.Context, request string, peer ident.PeerID, err error)
}

// Instances lists the running instances.
type Instances interface {
	Instances(ctx context.Context) ([]history.InstanceStatus, error)
}

// Pairs lists the pairs of peers that have a link.
type Pairs interface {
	Pairs(ctx context.Context, q presence.PairQuery) ([]presence.Pair, error)
}

// History reads the figures of the past.
type History interface {
	History(ctx context.Context, span, step time.Duration) ([]history.Span, error)
	// RelayUse returns the peers that used the relay most in the last days.
	RelayUse(ctx context.Context, days, limit int) ([]history.RelayUse, error)
	// RelayDays returns the use of the relay by the day, of one peer or of all.
	RelayDays(ctx context.Context, days int, peer ident.PeerID) ([]history.RelayDay, error)
}

// Database is the store behind the registry.
type Database interface {
	// Ping returns an error unless the database takes writes.
	Ping(ctx context.Context) error
}
