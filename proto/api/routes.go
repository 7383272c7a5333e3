package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// The URL paths of the interface. Braces enclose a parameter; the functions below fill
// it in.
const (
	PathChallenges   = "/v1/challenges"
	PathPeers        = "/v1/peers"
	PathPeer         = "/v1/peers/{id}"
	PathSelf         = "/v1/peers/self"
	PathAllowed      = "/v1/peers/self/allowed"
	PathAllowedPeer  = "/v1/peers/self/allowed/{id}"
	PathMailboxes    = "/v1/mailboxes"
	PathMailbox      = "/v1/mailboxes/{address}"
	PathTries        = "/v1/mailboxes/{address}/tries"
	PathTry          = "/v1/mailboxes/{address}/tries/{number}"
	PathAnswer       = "/v1/mailboxes/{address}/tries/{number}/answer"
	PathConfirmation = "/v1/mailboxes/{address}/tries/{number}/confirmation"
	PathRelay        = "/v1/relay-credentials"
	PathServer       = "/v1/server"
	PathAdminPeers   = "/v1/admin/peers"
	PathAdminPeer    = "/v1/admin/peers/{id}"
	PathRevocations  = "/v1/admin/revocations"
	PathRevocation   = "/v1/admin/revocations/{id}"
	PathJoinRequests = "/v1/admin/asking"
	PathApprovals    = "/v1/admin/approvals"
	PathApproval     = "/v1/admin/approvals/{id}"
	PathAudit        = "/v1/admin/audit"
	PathInstances    = "/v1/admin/instances"
	PathPairs        = "/v1/admin/pairs"
	PathHistory      = "/v1/admin/history"
	PathRelayUse     = "/v1/admin/relay-use"
	PathInvites      = "/v1/admin/invites"
	PathInvite       = "/v1/admin/invites/{id}"
	PathAdminLink    = "/v1/admin/link"
	PathTokens       = "/v1/admin/tokens"
	PathToken        = "/v1/admin/tokens/{id}"
	PathOpenAPI      = "/openapi.json"
	PathDocs         = "/docs"
	PathLive         = "/livez"
	PathReady        = "/readyz"
)

// Auth is the kind of token that a route requires in the Authorization header.
type Auth string

// The kinds of authorization.
const (
	AuthNone  Auth = ""      // nothing
	AuthPeer  Auth = "peer"  // Bearer with the token of a registered peer
	AuthAdmin Auth = "admin" // Bearer with the token of an administrator
)

// Route is one operation of the interface.
type Route struct {
	Method string
	Path   string
	Auth   Auth
	Status int   // the status of a successful answer
	Scope  Scope // the scope that the administrator's token must have; "" for any
}

// Routes lists every operation of the OpenAPI document.
//
//	method  path                                            body → result
//	POST    /v1/challenges                                  → Challenge
//	POST    /v1/peers                                       Registration → RegisterResult
//	GET     /v1/peers/{id}                                  → Peer ("self" is the caller)
//	PATCH   /v1/peers/self                                  PeerChange → Peer
//	DELETE  /v1/peers/self
//	GET     /v1/peers/self/allowed                          → Allowances
//	GET     /v1/peers/self/allowed/{id}                     → Allowance
//	PUT     /v1/peers/self/allowed/{id}                     → Allowance
//	DELETE  /v1/peers/self/allowed/{id}
//	POST    /v1/mailboxes                                   → Mailbox
//	DELETE  /v1/mailboxes/{address}
//	POST    /v1/mailboxes/{address}/tries                   Message → Try
//	GET     /v1/mailboxes/{address}/tries?after=&wait=      → Tries
//	GET     /v1/mailboxes/{address}/tries/{number}?wait=    → Try
//	PUT     /v1/mailboxes/{address}/tries/{number}/answer        Message
//	PUT     /v1/mailboxes/{address}/tries/{number}/confirmation  Message
//	POST    /v1/relay-credentials                           → RelayCredentials
//	GET     /v1/server                                      → Server
//	GET     /v1/admin/peers?after=&limit=&name=             → AdminPeers
//	GET     /v1/admin/peers/{id}                            → AdminPeer
//	PATCH   /v1/admin/peers/{id}                            PeerChange → AdminPeer
//	DELETE  /v1/admin/peers/{id}
//	GET     /v1/admin/revocations?after=&limit=             → Revocations
//	DELETE  /v1/admin/revocations/{id}
//	GET     /v1/admin/asking                                → JoinRequests
//	GET     /v1/admin/approvals?after=&limit=               → Approvals
//	PUT     /v1/admin/approvals/{id}                        → Approval
//	DELETE  /v1/admin/approvals/{id}
//	GET     /v1/admin/audit?after=&limit=&kind=&peer=       → Events
//	GET     /v1/admin/instances                             → Instances
//	GET     /v1/admin/pairs?after=&limit=&peer=&path=       → Pairs
//	GET     /v1/admin/history?hours=&seconds=               → History
//	GET     /v1/admin/relay-use?days=&limit=&peer=          → RelayUse
//	POST    /v1/admin/invites                               InviteRequest → Invite
//	GET     /v1/admin/invites?after=&limit=                 → Invites
//	GET     /v1/admin/invites/{id}                          → Invite
//	DELETE  /v1/admin/invites/{id}
//	POST    /v1/admin/link                                  AdminLinkUse → AdminToken
//	POST    /v1/admin/tokens                                AdminTokenRequest → AdminToken
//	GET     /v1/admin/tokens?after=&limit=                  → AdminTokens
//	GET     /v1/admin/tokens/{id}                           → AdminToken ("self" is the caller's)
//	DELETE  /v1/admin/tokens/{id}
var Routes = []Route{
	{http.MethodPost, PathChallenges, AuthNone, http.StatusCreated, ""},
	{http.MethodPost, PathPeers, AuthNone, http.StatusCreated, ""},
	{http.MethodGet, PathPeer, AuthPeer, http.StatusOK, ""},
	{http.MethodPatch, PathSelf, AuthPeer, http.StatusOK, ""},
	{http.MethodDelete, PathSelf, AuthPeer, http.StatusNoContent, ""},
	{http.MethodGet, PathAllowed, AuthPeer, http.StatusOK, ""},
	{http.MethodGet, PathAllowedPeer, AuthPeer, http.StatusOK, ""},
	{http.MethodPut, PathAllowedPeer, AuthPeer, http.StatusOK, ""},
	{http.MethodDelete, PathAllowedPeer, AuthPeer, http.StatusNoContent, ""},
	{http.MethodPost, PathMailboxes, AuthPeer, http.StatusCreated, ""},
	{http.MethodDelete, PathMailbox, AuthPeer, http.StatusNoContent, ""},
	{http.MethodPost, PathTries, AuthPeer, http.StatusCreated, ""},
	{http.MethodGet, PathTries, AuthPeer, http.StatusOK, ""},
	{http.MethodGet, PathTry, AuthPeer, http.StatusOK, ""},
	{http.MethodPut, PathAnswer, AuthPeer, http.StatusNoContent, ""},
	{http.MethodPut, PathConfirmation, AuthPeer, http.StatusNoContent, ""},
	{http.MethodPost, PathRelay, AuthPeer, http.StatusCreated, ""},
	{http.MethodGet, PathServer, AuthNone, http.StatusOK, ""},
	{http.MethodGet, PathAdminPeers, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodGet, PathAdminPeer, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodPatch, PathAdminPeer, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodDelete, PathAdminPeer, AuthAdmin, http.StatusNoContent, ScopePeers},
	{http.MethodGet, PathRevocations, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodDelete, PathRevocation, AuthAdmin, http.StatusNoContent, ScopePeers},
	{http.MethodGet, PathJoinRequests, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodGet, PathApprovals, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodPut, PathApproval, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodDelete, PathApproval, AuthAdmin, http.StatusNoContent, ScopePeers},
	{http.MethodGet, PathAudit, AuthAdmin, http.StatusOK, ScopeAudit},
	{http.MethodGet, PathInstances, AuthAdmin, http.StatusOK, ScopeAudit},
	{http.MethodGet, PathPairs, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodGet, PathHistory, AuthAdmin, http.StatusOK, ScopeAudit},
	{http.MethodGet, PathRelayUse, AuthAdmin, http.StatusOK, ScopePeers},
	{http.MethodPost, PathInvites, AuthAdmin, http.StatusCreated, ScopeInvites},
	{http.MethodGet, PathInvites, AuthAdmin, http.StatusOK, ScopeInvites},
	{http.MethodGet, PathInvite, AuthAdmin, http.StatusOK, ScopeInvites},
	{http.MethodDelete, PathInvite, AuthAdmin, http.StatusNoContent, ScopeInvites},
	{http.MethodPost, PathAdminLink, AuthNone, http.StatusCreated, ""},
	{http.MethodPost, PathTokens, AuthAdmin, http.StatusCreated, ScopeAdmin},
	{http.MethodGet, PathTokens, AuthAdmin, http.StatusOK, ScopeAdmin},
	{http.MethodGet, PathToken, AuthAdmin, http.StatusOK, ""},
	{http.MethodDelete, PathToken, AuthAdmin, http.StatusNoContent, ScopeAdmin},
}

// TokenPath returns the URL path of an administrator's token.
func TokenPath(id string) string { return PathTokens + "/" + url.PathEscape(id) }

// InvitePath returns the URL path of an invite.
func InvitePath(id string) string { return PathInvites + "/" + url.PathEscape(id) }

// PeerPath returns the URL path of a peer.
func PeerPath(id ident.PeerID) string { return PathPeers + "/" + id.String() }

// AdminPeerPath returns the URL path by which administrators reach a peer.
func AdminPeerPath(id ident.PeerID) string { return PathAdminPeers + "/" + id.String() }

// RevocationPath returns the URL path of a peer's revocation.
func RevocationPath(id ident.PeerID) string { return PathRevocations + "/" + id.String() }

// ApprovalPath returns the URL path of a peer's approval.
func ApprovalPath(id ident.PeerID) string { return PathApprovals + "/" + id.String() }

// AllowedPath returns the URL path of the caller's permission for a peer.
func AllowedPath(id ident.PeerID) string { return PathAllowed + "/" + id.String() }

// MailboxPath returns the URL path of a mailbox.
func MailboxPath(a ident.Address) string { return PathMailboxes + "/" + url.PathEscape(string(a)) }

// TriesPath returns the URL path of a mailbox's tries.
func TriesPath(a ident.Address) string { return MailboxPath(a) + "/tries" }

// TryPath returns the URL path of one try.
func TryPath(a ident.Address, number int) string {
	return TriesPath(a) + "/" + strconv.Itoa(number)
}

// AnswerPath returns the URL path of the owner's answer to a try.
func AnswerPath(a ident.Address, number int) string { return TryPath(a, number) + "/answer" }

// ConfirmationPath returns the URL path of the confirmation of a try.
func ConfirmationPath(a ident.Address, number int) string {
	return TryPath(a, number) + "/confirmation"
}
