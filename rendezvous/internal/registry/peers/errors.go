package peers

import (
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Errors of registration. Each says what is wrong; the user interfaces say what
// to do.
var (
	ErrChallenge = &registry.Error{Text: "the challenge is not good, or its time is over", Code: api.CodeChallenge}
	ErrReplayed  = &registry.Error{
		Text: "the challenge was used before", Code: api.CodeChallenge,
		Refusal: "replayed",
	}
	ErrSignature = &registry.Error{
		Text: "the signature is not the key's", Code: api.CodeSignature,
		Refusal: "signature",
	}
	ErrBinding = &registry.Error{
		Text: "the registration is not bound to this connection", Code: api.CodeBinding,
		Refusal: "binding",
	}
	ErrOrigin = &registry.Error{
		Text: "the registration is for a rendezvous at another address",
		Code: api.CodeOrigin, Refusal: "origin",
	}
	ErrInviteNeeded = &registry.Error{
		Text: "a new peer needs an invite", Code: api.CodeInviteNeeded,
		Refusal: "invite_needed",
	}
	ErrInvite  = &registry.Error{Text: "the invite is not good", Code: api.CodeInvite, Refusal: "invite"}
	ErrRevoked = &registry.Error{Text: "the peer is revoked", Code: api.CodeRevoked, Refusal: "revoked"}
	ErrFull    = &registry.Error{Text: "the registry is full", Code: api.CodeFull, Refusal: "full"}
)

// Errors of peers and of what administrators do with them.
var (
	ErrNotFound = &registry.Error{
		Text: "no such peer, or not to be found by the caller",
		Code: api.CodePeerNotFound,
	}
	ErrName           = &registry.Error{Text: "a name is 1 to 64 printable characters, without a space at either end"}
	ErrChanged        = &registry.Error{Text: "the peer has changed meanwhile", Code: api.CodeChanged}
	ErrAllowedLimit   = &registry.Error{Text: "too many peers allowed", Code: api.CodeAllowedLimit}
	ErrApprovalLimit  = &registry.Error{Text: "too many approvals", Code: api.CodeApprovalLimit}
	ErrInviteNotFound = &registry.Error{Text: "no such invite", Code: api.CodeInviteNotFound}
	ErrInviteSpec     = &registry.Error{Text: "an invite's label, uses or lifetime is out of bounds"}
)
