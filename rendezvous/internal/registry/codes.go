package registry

import (
	"context"
	"errors"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// codes gives the errors their place in the table of wire errors.
var codes = []struct {
	err  error
	code api.Code
}{
	{ErrUnauthenticated, api.CodeUnauthenticated},
	{ErrNotAdmin, api.CodeAdmin},
	{ErrAdminLink, api.CodeAdminLink},
	{ErrInviteNotFound, api.CodeInviteNotFound},
	{ErrTokenNotFound, api.CodeTokenNotFound},
	{ErrTokenLimit, api.CodeTokenLimit},
	{ErrIdempotency, api.CodeIdempotency},
	{ErrChallenge, api.CodeChallenge},
	{ErrReplayed, api.CodeChallenge},
	{ErrSignature, api.CodeSignature},
	{ErrBinding, api.CodeBinding},
	{ErrOrigin, api.CodeOrigin},
	{ErrInviteNeeded, api.CodeInviteNeeded},
	{ErrInvite, api.CodeInvite},
	{ErrRevoked, api.CodeRevoked},
	{ErrApprovalLimit, api.CodeApprovalLimit},
	{ErrChanged, api.CodeChanged},
	{ErrFull, api.CodeFull},
	{ErrPeerNotFound, api.CodePeerNotFound},
	{ErrAllowedLimit, api.CodeAllowedLimit},
	{ErrMailboxNotFound, api.CodeMailboxNotFound},
	{ErrMailboxExpired, api.CodeMailboxExpired},
	{ErrMailboxClosed, api.CodeMailboxClosed},
	{ErrMailboxBurned, api.CodeMailboxBurned},
	{ErrMailboxOwn, api.CodeMailboxOwn},
	{ErrMailboxLimit, api.CodeMailboxLimit},
	{ErrTryNotFound, api.CodeTryNotFound},
	{ErrTryState, api.CodeTryState},
	{ErrUnavailable, api.CodeUnavailable},
	{context.DeadlineExceeded, api.CodeUnavailable}, // the database's time was over
}

// CodeOf returns the place of an error in the table of wire errors, if it has
// one.
func CodeOf(err error) (code api.Code, ok bool) {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code, true
		}
	}
	return "", false
}
