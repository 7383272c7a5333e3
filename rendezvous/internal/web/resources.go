package web

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Resources are the parts of the registry that the pages show and change. All of
// them are required.
type Resources struct {
	SignIns      SignIns
	Membership   Membership
	Peers        Peers
	Revocations  Revocations
	Approvals    Approvals
	JoinRequests JoinRequests
	Invites      Invites
	Tokens       Tokens
	Audit        Audit
	Instances    Instances
	Pairs        Pairs
	History      History
}

// missing names a part that is not set, or returns "".
func (r Resources) missing() string {
	for name, part := range map[string]any{
		"sign-ins": r.SignIns, "membership": r.Membership, "peers": r.Peers, "revocations": r.Revocations,
		"approvals": r.Approvals, "join requests": r.JoinRequests, "invites": r.Invites,
		"tokens": r.Tokens, "audit log": r.Audit, "instances": r.Instances, "pairs": r.Pairs,
		"history": r.History,
	} {
		if part == nil {
			return name
		}
	}
	return ""
}

// SignIns keeps which browsers are signed in.
type SignIns interface {
	// SignIn signs a browser in with an administrator's token.
	SignIn(ctx context.Context, token, label string) (secret string, signIn administration.Token, err error)
	// SignInWithLink signs a browser in with the code of a one-time link.
	SignInWithLink(ctx context.Context, code, label string) (secret string, signIn administration.Token, err error)
	// AuthenticateSignIn returns the sign-in of a secret. Errors:
	// registry.ErrUnauthenticated.
	AuthenticateSignIn(ctx context.Context, secret string) (administration.Token, error)
	SignOut(ctx context.Context, signIn administration.Token) error
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
	Peers(ctx context.Context, q peers.Query) ([]peers.PeerStatus, error)
	PeerStatus(ctx context.Context, id ident.PeerID) (peers.PeerStatus, error)
	NamePeer(ctx context.Context, id ident.PeerID, name string, version int64) (peers.PeerStatus, error)
}

// Revocations revokes peers, and keeps the revoked ones. A version of 0 stands for
// any version.
type Revocations interface {
	RevokePeer(ctx context.Context, id ident.PeerID, version int64) error
	// Revocations returns the revocations with a number above since.
	Revocations(ctx context.Context, since int64, limit int) ([]peers.Revocation, error)
	Revoked(ctx context.Context, id ident.PeerID) (bool, error)
	Readmit(ctx context.Context, id ident.PeerID) error
}

// JoinRequests keeps the peers that tried to join without an invite.
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

// Tokens keeps the administrators' tokens, and the sign-ins among them.
type Tokens interface {
	CreateToken(ctx context.Context, s administration.TokenSpec) (token string, t administration.Token, err error)
	Token(ctx context.Context, id registry.TokenPrefix) (administration.Token, error)
	Tokens(ctx context.Context, p registry.Page) ([]administration.Token, error)
	RevokeToken(ctx context.Context, id registry.TokenPrefix) error
}

// Audit reads the audit log.
type Audit interface {
	Events(ctx context.Context, q audit.Query) ([]audit.Event, error)
}

// Instances lists the running instances.
type Instances interface {
	Instances(ctx context.Context) ([]history.InstanceStatus, error)
}

// Pairs lists and counts the pairs of peers that have a link.
type Pairs interface {
	Pairs(ctx context.Context, q presence.PairQuery) ([]presence.Pair, error)
	CountPairs(ctx context.Context) (presence.PairCount, error)
}

// History reads the figures of the past.
type History interface {
	History(ctx context.Context, span, step time.Duration) ([]history.Span, error)
	// RelayUse returns the peers that used the relay most in the last days.
	RelayUse(ctx context.Context, days, limit int) ([]history.RelayUse, error)
	// RelayDays returns the use of the relay by the day, of one peer or of all.
	RelayDays(ctx context.Context, days int, peer ident.PeerID) ([]history.RelayDay, error)
}
