package registry

import "errors"

// The errors of the registry and its stores. Each says what is wrong; the
// interface that people use says what to do.
var (
	ErrUnavailable     = errors.New("the database cannot be used")
	ErrUnauthenticated = errors.New("the token is not good")
	ErrNotAdmin        = errors.New("the token is no administrator's")
	ErrAdminLink       = errors.New("the admin link is not good")
	ErrTokenSpec       = errors.New("a token's label, scopes or lifetime is out of bounds")
	ErrTokenNotFound   = errors.New("no such token")
	ErrTokenLimit      = errors.New("too many tokens")
	ErrIdempotency     = errors.New("the key was used for another request")
	ErrChallenge       = errors.New("the challenge is not good, or its time is over")
	ErrReplayed        = errors.New("the challenge was used before")
	ErrSignature       = errors.New("the signature is not the key's")
	ErrBinding         = errors.New("the registration is not bound to this connection")
	ErrOrigin          = errors.New("the registration is for a rendezvous at another address")
	ErrName            = errors.New("a name is 1 to 64 printable characters, without a space at either end")
	ErrInviteNeeded    = errors.New("a new peer needs an invite")
	ErrInvite          = errors.New("the invite is not good")
	ErrInviteNotFound  = errors.New("no such invite")
	ErrInviteSpec      = errors.New("an invite's label, uses or lifetime is out of bounds")
	ErrRevoked         = errors.New("the peer is revoked")
	ErrApprovalLimit   = errors.New("too many approvals")
	ErrChanged         = errors.New("the peer has changed meanwhile")
	ErrLimited         = errors.New("too many requests")
	ErrFull            = errors.New("the registry is full")
	ErrPeerNotFound    = errors.New("no such peer, or not to be found by the caller")
	ErrAllowedLimit    = errors.New("too many peers allowed")
	ErrMailboxNotFound = errors.New("no such mailbox")
	ErrMailboxExists   = errors.New("the mailbox exists")
	ErrMailboxExpired  = errors.New("the mailbox has expired")
	ErrMailboxClosed   = errors.New("the mailbox is closed")
	ErrMailboxBurned   = errors.New("the mailbox has had its tries")
	ErrMailboxOwn      = errors.New("the mailbox is the caller's own")
	ErrMailboxLimit    = errors.New("too many mailboxes open")
	ErrMessage         = errors.New("a message is 1 to 4096 bytes")
	ErrTryNotFound     = errors.New("no such try")
	ErrTryState        = errors.New("the try is not at this step")
	ErrFenced          = errors.New("the lease is lost")
	ErrLocked          = errors.New("another process holds the lock")
	ErrBlobNotFound    = errors.New("no such value")
	ErrBlobSize        = errors.New("a value or its name is too long, or it has no name")
)

// Expected reports whether err is one that the methods of a [Store] name, and
// not a failure of the database.
func Expected(err error) bool {
	for _, e := range []error{
		ErrReplayed, ErrRevoked, ErrChanged, ErrApprovalLimit, ErrInviteNeeded, ErrInvite, ErrPeerNotFound, ErrAllowedLimit,
		ErrMailboxNotFound, ErrMailboxExists, ErrMailboxExpired, ErrMailboxClosed, ErrMailboxBurned, ErrMailboxLimit,
		ErrTryNotFound, ErrTryState, ErrFenced, ErrLocked, ErrBlobNotFound, ErrBlobSize,
		ErrAdminLink, ErrTokenNotFound, ErrTokenLimit, ErrInviteNotFound,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
