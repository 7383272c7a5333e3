package api

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// ContentType is the media type of a [Problem] (RFC 9457).
const ContentType = "application/problem+json"

// Code names a kind of error for programs. Codes are never reused.
type Code string

// The codes, in the order of [Kinds].
const (
	CodeMalformed        Code = "malformed"
	CodeInvalid          Code = "invalid"
	CodeTooLarge         Code = "too_large"
	CodeMediaType        Code = "media_type"
	CodeTimeout          Code = "timeout"
	CodeNoRoute          Code = "no_route"
	CodeMethod           Code = "method"
	CodeUnauthenticated  Code = "unauthenticated"
	CodeChallenge        Code = "challenge"
	CodeSignature        Code = "signature"
	CodeBinding          Code = "binding"
	CodeOrigin           Code = "origin"
	CodeInviteNeeded     Code = "invite_needed"
	CodeInvite           Code = "invite"
	CodeApprovalLimit    Code = "approval_limit"
	CodeRevoked          Code = "revoked"
	CodeVersionNeeded    Code = "version_needed"
	CodeChanged          Code = "changed"
	CodeAdmin            Code = "admin"
	CodeScope            Code = "scope"
	CodeAdminLink        Code = "admin_link"
	CodeInviteNotFound   Code = "invite_not_found"
	CodeTokenNotFound    Code = "token_not_found"
	CodeTokenLimit       Code = "token_limit"
	CodeIdempotency      Code = "idempotency"
	CodePeerNotFound     Code = "peer_not_found"
	CodeAllowedLimit     Code = "allowed_limit"
	CodeMailboxNotFound  Code = "mailbox_not_found"
	CodeMailboxExpired   Code = "mailbox_expired"
	CodeMailboxClosed    Code = "mailbox_closed"
	CodeMailboxBurned    Code = "mailbox_burned"
	CodeMailboxOwn       Code = "mailbox_own"
	CodeMailboxLimit     Code = "mailbox_limit"
	CodeTryNotFound      Code = "try_not_found"
	CodeTryState         Code = "try_state"
	CodeRateLimited      Code = "rate_limited"
	CodeRelayUnavailable Code = "relay_unavailable"
	CodeFull             Code = "full"
	CodeUnavailable      Code = "unavailable"
	CodeInternal         Code = "internal"
)

// Kind is one row of the table of errors.
type Kind struct {
	Code   Code
	Status int    // HTTP status
	Means  string // what is wrong, for people
	Do     string // what to do about it, for people
}

// Kinds is the table of every error that the interface answers with.
var Kinds = []Kind{
	{CodeMalformed, http.StatusBadRequest, "the request is no well-formed JSON in UTF-8, or broke off", "send what the OpenAPI document describes"},
	{CodeInvalid, http.StatusUnprocessableEntity, "a field is missing, unknown or out of its bounds", "correct the fields that errors names"},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, "the request is larger than 16 KiB", "send less"},
	{CodeMediaType, http.StatusUnsupportedMediaType, "the request is not application/json", "set Content-Type to application/json"},
	{CodeTimeout, http.StatusRequestTimeout, "the request did not arrive in time", "send it again"},
	{CodeNoRoute, http.StatusNotFound, "nothing is at this address", "look at /openapi.json"},
	{CodeMethod, http.StatusMethodNotAllowed, "the address does not take this method", "look at /openapi.json"},
	{CodeUnauthenticated, http.StatusUnauthorized, "the token is missing, wrong or no longer good", "a peer registers again with its key; an administrator asks another for a new token"},
	{CodeChallenge, http.StatusUnauthorized, "the challenge or the signature's time is over, or the challenge was used before", "take a new challenge, check the clock, and register again"},
	{CodeSignature, http.StatusForbidden, "the signature was not made by this key over this registration on this connection", "sign with the key whose public half is sent; what ends TLS between the two prevents it"},
	{CodeBinding, http.StatusForbidden, "the registration is not bound to what the challenge says", "take the challenge and register on one connection; where a reverse proxy ends TLS, its operator lists it in trusted-proxies"},
	{CodeOrigin, http.StatusForbidden, "the registration is for a server at another address", "use the join link that the server prints; its operator sets public-url to the address that agents dial"},
	{CodeInviteNeeded, http.StatusForbidden, "the server registers only peers that were invited", "ask its operator for an invite, or to approve the peer's ID"},
	{CodeInvite, http.StatusForbidden, "the invite is unknown, used up, revoked or expired", "ask the server's operator for a new one"},
	{CodeApprovalLimit, http.StatusConflict, "there are as many approved peers as may be", "take some approvals back, or wait until the peers register"},
	{CodeRevoked, http.StatusForbidden, "the server's operator has revoked the peer", "ask the operator to readmit it"},
	{CodeVersionNeeded, http.StatusPreconditionRequired, "the request does not say which version it changes", "read the peer, and send its ETag as If-Match"},
	{CodeChanged, http.StatusPreconditionFailed, "somebody else has changed the peer meanwhile", "read it again, and send its new ETag as If-Match"},
	{CodeAdmin, http.StatusForbidden, "the operation is for the server's operator", "use an administrator's token"},
	{CodeScope, http.StatusForbidden, "the administrator's token does not cover the operation", "use a token with the scope that the operation names"},
	{CodeAdminLink, http.StatusForbidden, "the admin link is unknown, was used before or has expired", "have the server print a new one"},
	{CodeInviteNotFound, http.StatusNotFound, "no such invite", "look at the list of invites"},
	{CodeTokenNotFound, http.StatusNotFound, "no such token of an administrator", "look at the list of tokens"},
	{CodeTokenLimit, http.StatusConflict, "there are as many administrators' tokens as may be", "revoke some and wait until they expire"},
	{CodeIdempotency, http.StatusConflict, "the Idempotency-Key was used for a request that asked for something else", "send another key with another request"},
	{CodePeerNotFound, http.StatusNotFound, "no such peer, or it does not allow you to find it", "check the peer's ID, and pair with it"},
	{CodeAllowedLimit, http.StatusConflict, "the peer allows as many others as it may", "forget some of them first"},
	{CodeMailboxNotFound, http.StatusNotFound, "no pairing waits at this EasyFind address", "check the address, or start the pairing again on the other machine"},
	{CodeMailboxExpired, http.StatusGone, "the EasyFind address has expired", "start the pairing again on the other machine"},
	{CodeMailboxClosed, http.StatusGone, "the pairing at this EasyFind address has ended", "start the pairing again on the other machine"},
	{CodeMailboxBurned, http.StatusGone, "the EasyFind address has had its three tries", "start the pairing again on the other machine"},
	{CodeMailboxOwn, http.StatusConflict, "the EasyFind address is this peer's own", "type it on the other machine"},
	{CodeMailboxLimit, http.StatusTooManyRequests, "the peer has too many pairings open", "finish one, or wait until one expires"},
	{CodeTryNotFound, http.StatusNotFound, "the mailbox has no such try", "start the pairing again"},
	{CodeTryState, http.StatusConflict, "the try is not at this step", "start the pairing again"},
	{CodeRateLimited, http.StatusTooManyRequests, "too many requests from this address", "wait as long as Retry-After says"},
	{CodeRelayUnavailable, http.StatusServiceUnavailable, "the server has no relay", "connect the two machines directly, or ask its operator for one"},
	{CodeFull, http.StatusServiceUnavailable, "the server has as many peers as it takes", "tell its operator"},
	{CodeUnavailable, http.StatusServiceUnavailable, "the server cannot reach its database", "wait as long as Retry-After says; what is connected stays connected"},
	{CodeInternal, http.StatusInternalServerError, "the server failed", "try again; if it stays, tell its operator the time of it"},
}

// KindOf returns the row of a code, and that of [CodeInternal] for a code that
// is not in the table.
func KindOf(code Code) Kind {
	at := func(c Code) int { return slices.IndexFunc(Kinds, func(k Kind) bool { return k.Code == c }) }
	i := at(code)
	if i < 0 {
		i = at(CodeInternal)
	}
	return Kinds[i]
}

// Problem is the body of every answer that is no success (RFC 9457). It never
// repeats what was sent.
type Problem struct {
	Type   string  `json:"type" maxLength:"256" doc:"always about:blank: code says it" example:"about:blank"`
	Title  string  `json:"title" maxLength:"64" doc:"the words of the HTTP status" example:"Forbidden"`
	Status int     `json:"status" minimum:"400" maximum:"599" doc:"the HTTP status" example:"403"`
	Code   Code    `json:"code" maxLength:"32" doc:"the kind of error, from the table of codes" example:"invite"`
	Detail string  `json:"detail" maxLength:"512" doc:"what is wrong and what to do, for people" example:"the invite is unknown, used up, revoked or expired: ask the server's operator for a new one"`
	Errors []Field `json:"errors,omitempty" nullable:"false" maxItems:"16" doc:"the fields that are wrong"`

	// RetryAfter is the Retry-After header (RFC 9110 section 10.2.3), zero
	// without one. It is not in the body.
	RetryAfter time.Duration `json:"-"`
}

// Field names one field of a request that was refused.
type Field struct {
	Location string `json:"location" maxLength:"128" doc:"such as body.name" example:"body.name"`
	Message  string `json:"message" maxLength:"256" example:"expected length >= 1"`
}

// NewProblem makes the problem of a code with the table's words.
func NewProblem(code Code) *Problem {
	k := KindOf(code)
	return &Problem{
		Type: "about:blank", Title: http.StatusText(k.Status), Status: k.Status,
		Code: k.Code, Detail: k.Means + ": " + k.Do,
	}
}

// Error says what is wrong and what to do.
func (p *Problem) Error() string {
	s := p.Detail
	if s == "" {
		s = p.Title
	}
	for _, f := range p.Errors {
		s += fmt.Sprintf(" (%s: %s)", f.Location, f.Message)
	}
	return s
}

// Is makes errors.Is match problems by their code.
func (p *Problem) Is(target error) bool {
	other, ok := target.(*Problem)
	return ok && other.Code == p.Code
}

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type in place of the plain one.
func (p *Problem) ContentType(string) string { return ContentType }
