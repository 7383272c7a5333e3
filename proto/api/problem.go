package api

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// ContentType is the media type of a [Problem] (RFC 9457).
const ContentType = "application/problem+json"

// Code names a type of error for programs. A code is never reused for another error.
type Code string

// The codes, in the order of [ProblemTypes].
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

// ProblemType is one row of the table of errors.
type ProblemType struct {
	Code   Code
	Status int    // HTTP status
	Means  string // what is wrong, for people
	Remedy string // what to do about it, for people
}

// ProblemTypes is the table of all errors that the interface answers with.
var ProblemTypes = []ProblemType{
	{
		CodeMalformed, http.StatusBadRequest,
		"the request is not well-formed JSON in UTF-8, or is incomplete",
		"send a request as the OpenAPI document describes it",
	},
	{
		CodeInvalid, http.StatusUnprocessableEntity,
		"a field is missing, unknown or out of its bounds",
		"correct the fields that errors names",
	},
	{
		CodeTooLarge, http.StatusRequestEntityTooLarge,
		"the request is larger than 16 KiB",
		"send less",
	},
	{
		CodeMediaType, http.StatusUnsupportedMediaType,
		"the request is not application/json",
		"set Content-Type to application/json",
	},
	{
		CodeTimeout, http.StatusRequestTimeout,
		"the request did not arrive in time",
		"send it again",
	},
	{
		CodeNoRoute, http.StatusNotFound,
		"there is nothing at this address",
		"look at /openapi.json",
	},
	{
		CodeMethod, http.StatusMethodNotAllowed,
		"the address does not take this method",
		"look at /openapi.json",
	},
	{
		CodeUnauthenticated, http.StatusUnauthorized,
		"the token is missing or wrong, or is not valid any more",
		"a peer registers again with its key; an administrator asks another for a new token",
	},
	{
		CodeChallenge, http.StatusUnauthorized,
		"the challenge or the signature has expired, or the challenge was used before",
		"request a new challenge, check the clock, and register again",
	},
	{
		CodeSignature, http.StatusForbidden,
		"the signature is not one of this key for this registration on this connection",
		"sign with the key whose public half is sent; a proxy that ends TLS between the two prevents it",
	},
	{
		CodeBinding, http.StatusForbidden,
		"the registration is not bound as the challenge requires",
		"request the challenge and register on one connection; the operator lists a TLS proxy in trusted-proxies",
	},
	{
		CodeOrigin, http.StatusForbidden,
		"the registration is for a server at another address",
		"use the join link that the server prints; its operator sets public-url to the address that agents dial",
	},
	{
		CodeInviteNeeded, http.StatusForbidden,
		"the server registers only peers that were invited",
		"ask its operator for an invite, or to approve the peer's ID",
	},
	{
		CodeInvite, http.StatusForbidden,
		"the invite is unknown, used up, revoked or expired",
		"ask the server's operator for a new one",
	},
	{
		CodeApprovalLimit, http.StatusConflict,
		"the largest number of approved peers is reached",
		"withdraw some approvals, or wait until the peers register",
	},
	{
		CodeRevoked, http.StatusForbidden,
		"the server's operator has revoked the peer",
		"ask the operator to readmit it",
	},
	{
		CodeVersionNeeded, http.StatusPreconditionRequired,
		"the request does not name the version that it changes",
		"read the peer, and send its ETag as If-Match",
	},
	{
		CodeChanged, http.StatusPreconditionFailed,
		"somebody else has changed the peer since it was read",
		"read it again, and send its new ETag as If-Match",
	},
	{
		CodeAdmin, http.StatusForbidden,
		"the operation is for the server's operator",
		"use an administrator's token",
	},
	{
		CodeScope, http.StatusForbidden,
		"the administrator's token does not permit the operation",
		"use a token with the scope that the operation names",
	},
	{
		CodeAdminLink, http.StatusForbidden,
		"the admin link is unknown, was used before or has expired",
		"let the server print a new one",
	},
	{
		CodeInviteNotFound, http.StatusNotFound,
		"there is no such invite",
		"look at the list of invites",
	},
	{
		CodeTokenNotFound, http.StatusNotFound,
		"there is no such token of an administrator",
		"look at the list of tokens",
	},
	{
		CodeTokenLimit, http.StatusConflict,
		"the largest number of administrators' tokens is reached",
		"revoke some and wait until they expire",
	},
	{
		CodeIdempotency, http.StatusConflict,
		"the Idempotency-Key was used for a different request",
		"choose another key for this request",
	},
	{
		CodePeerNotFound, http.StatusNotFound,
		"there is no such peer, or it does not allow you to find it",
		"check the peer's ID, and pair with it",
	},
	{
		CodeAllowedLimit, http.StatusConflict,
		"the peer allows the largest possible number of other peers",
		"forget some of them first",
	},
	{
		CodeMailboxNotFound, http.StatusNotFound,
		"no pairing is open at this EasyFind address",
		"check the address, or start the pairing again on the other machine",
	},
	{
		CodeMailboxExpired, http.StatusGone,
		"the EasyFind address has expired",
		"start the pairing again on the other machine",
	},
	{
		CodeMailboxClosed, http.StatusGone,
		"the pairing at this EasyFind address has ended",
		"start the pairing again on the other machine",
	},
	{
		CodeMailboxBurned, http.StatusGone,
		"the three tries at this EasyFind address are used up",
		"start the pairing again on the other machine",
	},
	{
		CodeMailboxOwn, http.StatusConflict,
		"the EasyFind address belongs to this peer itself",
		"type it on the other machine",
	},
	{
		CodeMailboxLimit, http.StatusTooManyRequests,
		"the peer has too many pairings open",
		"finish one, or wait until one expires",
	},
	{
		CodeTryNotFound, http.StatusNotFound,
		"the mailbox has no such try",
		"start the pairing again",
	},
	{
		CodeTryState, http.StatusConflict,
		"the try is at another step",
		"start the pairing again",
	},
	{
		CodeRateLimited, http.StatusTooManyRequests,
		"too many requests from this address",
		"wait for the time in Retry-After",
	},
	{
		CodeRelayUnavailable, http.StatusServiceUnavailable,
		"the server has no relay",
		"connect the two machines directly, or ask its operator for one",
	},
	{
		CodeFull, http.StatusServiceUnavailable,
		"the server has its largest number of peers",
		"tell its operator",
	},
	{
		CodeUnavailable, http.StatusServiceUnavailable,
		"the server cannot reach its database",
		"wait for the time in Retry-After; existing connections stay",
	},
	{
		CodeInternal, http.StatusInternalServerError,
		"the server failed",
		"try again; if it fails again, tell its operator the time of the failure",
	},
}

// TypeOf returns the row of a code. It returns the row of [CodeInternal] for a code that
// is not in the table.
func TypeOf(code Code) ProblemType {
	at := func(c Code) int {
		return slices.IndexFunc(ProblemTypes, func(k ProblemType) bool { return k.Code == c })
	}
	i := at(code)
	if i < 0 {
		i = at(CodeInternal)
	}
	return ProblemTypes[i]
}

// Problem is the body of every answer that reports an error (RFC 9457). It never repeats
// anything that the client sent.
type Problem struct {
	Type   string  `json:"type" maxLength:"256" doc:"always about:blank; code has the type"`
	Title  string  `json:"title" maxLength:"64" doc:"the text of the HTTP status"`
	Status int     `json:"status" minimum:"400" maximum:"599" doc:"the HTTP status"`
	Code   Code    `json:"code" maxLength:"32" doc:"the type of the error, from the table of codes"`
	Detail string  `json:"detail" maxLength:"512" doc:"what is wrong and what to do, for people"`
	Errors []Field `json:"errors,omitempty" maxItems:"16" doc:"the fields that are wrong"`

	// RetryAfter is the Retry-After header (RFC 9110 section 10.2.3); zero means that there
	// is no such header. It is not part of the body.
	RetryAfter time.Duration `json:"-"`
}

// Field names one invalid field of a request.
type Field struct {
	Location string `json:"location" maxLength:"128" doc:"such as body.name"`
	Message  string `json:"message" maxLength:"256"`
}

// NewProblem returns the problem of a code, with the texts of the table.
func NewProblem(code Code) *Problem {
	t := TypeOf(code)
	return &Problem{
		Type: "about:blank", Title: http.StatusText(t.Status), Status: t.Status,
		Code: t.Code, Detail: t.Means + ": " + t.Remedy,
	}
}

// Error describes the error and what to do about it.
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

// ContentType returns the media type of a problem, in place of the given one.
func (p *Problem) ContentType(string) string { return ContentType }
