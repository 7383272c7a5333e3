package web

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Resources are the parts of the registry that the pages show and change. All of
// them are required.
type Resources struct {
	SignIns     SignIns
	Membership  Membership
	Peers       Peers
	Revocations Revocations
	Approvals   Approvals
	Invites     Invites
	Tokens      Tokens
	Audit       Audit
	Instances   Instances
	Pairs       Pairs
	History     History
}

// missing names a part that is not set, or returns "".
func (r Resources) missing() string {
	for name, part := range map[string]any{
		"sign-ins": r.SignIns, "membership": r.Membership, "peers": r.Peers, "revocations": r.Revocations,
		"approvals": r.Approvals, "invites": r.Invites, "tokens": r.Tokens, "audit log": r.Audit,
		"instances": r.Instances, "pairs": r.Pairs, "history": r.History,
	} {
		if part == nil {
			return name
		}
	}
	return ""
}

// SignIns keeps which browsers are signed in.
type SignIns interface {
	// OpenSession signs a browser in with an administrator's token.
	OpenSession(ctx context.Context, token, label string) (secret string, signIn registry.AdminToken, err error)
	// OpenSessionWithLink signs a browser in with the code of a one-time link.
	OpenSessionWithLink(ctx context.Context, code, label string) (secret string, signIn registry.AdminToken, err error)
	// Session returns the sign-in of a secret. Errors: registry.ErrUnauthenticated.
	Session(ctx context.Context, secret string) (registry.AdminToken, error)
	CloseSession(ctx context.Context, signIn registry.AdminToken) error
}

// Membership knows how many peers are registered and whether others may join.
type Membership interface {
	// Open reports whether a new peer may register without an invite.
	Open() bool
	// Registered returns the number of registered peers at the last count.
	Registered() int
}

// Peers reads and changes peers. A version of 0 stands for any version.
type Peers interface {
	Peers(ctx context.Context, q registry.PeerQuery) ([]registry.PeerAt, error)
	PeerAt(ctx context.Context, id ident.PeerID) (registry.PeerAt, error)
	NamePeer(ctx context.Context, id ident.PeerID, name string, version int64) (registry.PeerAt, error)
	RevokePeer(ctx context.Context, id ident.PeerID, version int64) error
}

// Revocations keeps the revoked peers.
type Revocations interface {
	// Revocations returns the revocations with a number above since.
	Revocations(ctx context.Context, since int64, limit int) ([]registry.Revocation, error)
	Revoked(ctx context.Context, id ident.PeerID) (bool, error)
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

// Tokens keeps the administrators' tokens, and the sign-ins among them.
type Tokens interface {
	CreateToken(ctx context.Context, s registry.TokenSpec) (token string, t registry.AdminToken, err error)
	Token(ctx context.Context, id registry.TokenPrefix) (registry.AdminToken, error)
	Tokens(ctx context.Context, p registry.Page) ([]registry.AdminToken, error)
	RevokeToken(ctx context.Context, id registry.TokenPrefix) error
}

// Audit reads the audit log.
type Audit interface {
	Events(ctx context.Context, q registry.EventQuery) ([]registry.Event, error)
}

// Instances lists the running instances.
type Instances interface {
	Instances(ctx context.Context) ([]registry.InstanceAt, error)
}

// Pairs lists and counts the pairs of peers that have a link.
type Pairs interface {
	Pairs(ctx context.Context, q registry.PairQuery) ([]registry.Pair, error)
	CountPairs(ctx context.Context) (registry.PairCount, error)
}

// History reads the figures of the past.
type History interface {
	History(ctx context.Context, span, step time.Duration) ([]registry.Span, error)
	// RelayUse returns the peers that used the relay most in the last days.
	RelayUse(ctx context.Context, days, limit int) ([]registry.RelayUse, error)
	// RelayDays returns the use of the relay by the day, of one peer or of all.
	RelayDays(ctx context.Context, days int, peer ident.PeerID) ([]registry.RelayDay, error)
}
