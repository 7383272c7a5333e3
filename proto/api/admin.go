package api

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Scope is a set of operations that an administrator's token permits.
type Scope string

// The scopes.
const (
	// ScopePeers permits to list, read, rename, revoke, readmit and approve peers, and to
	// see their pairs and their use of the relay.
	ScopePeers Scope = "peers"
	// ScopeInvites permits to create, list and revoke invites.
	ScopeInvites Scope = "invites"
	// ScopeAudit permits to read the audit log, the instances and the history.
	ScopeAudit Scope = "audit"
	// ScopeAdmin permits everything, including the management of tokens.
	ScopeAdmin Scope = "admin"
)

// Scopes lists every scope.
var Scopes = []Scope{ScopePeers, ScopeInvites, ScopeAudit, ScopeAdmin}

// AdminLinkUse exchanges a one-time admin link for a token with every scope.
type AdminLinkUse struct {
	Code  string `json:"code" minLength:"1" maxLength:"64" doc:"the secret in the link; valid once"`
	Label string `json:"label,omitempty" maxLength:"128" doc:"the owner of the token"`
}

// AdminTokenRequest requests a token for an administrator.
type AdminTokenRequest struct {
	Label   string  `json:"label,omitempty" maxLength:"128" doc:"the owner of the token"`
	Scopes  []Scope `json:"scopes" minItems:"1" maxItems:"4" maxLength:"16" enum:"peers,invites,audit,admin"`
	Seconds int     `json:"seconds,omitempty" minimum:"0" maximum:"31536000" doc:"its lifetime; 0 means 90 days"`
}

// AdminToken is a token of an administrator, or a browser that is signed in to the
// administrators' pages.
type AdminToken struct {
	ID      string    `json:"id" maxLength:"16" doc:"identifies the token; not a secret"`
	Token   string    `json:"token,omitempty" maxLength:"128" doc:"the secret; only in the answer that creates it"`
	Label   string    `json:"label" maxLength:"128"`
	Scopes  []Scope   `json:"scopes" maxItems:"4" maxLength:"16" enum:"peers,invites,audit,admin"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked"`
	SignIn  bool      `json:"session" doc:"true for a signed-in browser, which cannot use this interface"`
}

// AdminTokens is a page of the administrators' tokens, oldest first.
type AdminTokens struct {
	Tokens []AdminToken `json:"tokens" maxItems:"100"`
	Next   string       `json:"next,omitempty" maxLength:"64" doc:"the parameter after of the next page"`
}

// InviteRequest requests an invite.
type InviteRequest struct {
	Label   string `json:"label,omitempty" maxLength:"128" doc:"its recipient; only administrators see it"`
	Uses    int    `json:"uses,omitempty" minimum:"0" maximum:"1000000" doc:"peers that may use it; 0 means any number"`
	Seconds int    `json:"seconds,omitempty" minimum:"0" maximum:"31536000" doc:"its lifetime; 0 means one day"`
}

// Invite lets peers register.
type Invite struct {
	ID      string    `json:"id" maxLength:"16" doc:"identifies the invite; not a secret"`
	Code    string    `json:"code,omitempty" maxLength:"64" doc:"the secret; only in the answer that creates it"`
	Label   string    `json:"label" maxLength:"128"`
	Uses    int       `json:"uses" minimum:"0" maximum:"1000000" doc:"peers that may use it; 0 means any number"`
	Used    int       `json:"used" minimum:"0" maximum:"2147483647" doc:"peers that have used it"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked"`
}

// Invites is a page of the invites, oldest first. An invite stays in the list for a week
// after it has ended.
type Invites struct {
	Invites []Invite `json:"invites" maxItems:"100"`
	Next    string   `json:"next,omitempty" maxLength:"64" doc:"the parameter after of the next page"`
}

// AdminPeer describes a peer to administrators. Its ETag is its version.
type AdminPeer struct {
	ID      ident.PeerID `json:"id" maxLength:"63"`
	Name    string       `json:"name" maxLength:"64"`
	Created time.Time    `json:"created" doc:"the time of the first registration"`
	// Version rises with each change of the name.
	Version     int64     `json:"version" minimum:"1" maximum:"9007199254740991" doc:"If-Match takes it in quotes"`
	Online      bool      `json:"online" doc:"whether it has a signalling connection"`
	OnlineSince time.Time `json:"online_since,omitzero" doc:"the start of the connection; absent if offline"`
	Instance    string    `json:"instance,omitempty" maxLength:"128" doc:"the instance it is connected to"`
	LastSeen    time.Time `json:"last_seen,omitzero" doc:"the end of the last connection; absent if online or unknown"`
}

// AdminPeers is a page of all peers, ordered by ID.
type AdminPeers struct {
	Peers []AdminPeer `json:"peers" maxItems:"100"`
	Next  string      `json:"next,omitempty" maxLength:"64" doc:"the parameter after of the next page"`
}

// Revocation is a peer that an administrator has revoked. Its key cannot register again
// until it is readmitted.
type Revocation struct {
	Peer ident.PeerID `json:"peer" maxLength:"63"`
	Name string       `json:"name" maxLength:"64" doc:"its name when it was revoked"`
	At   time.Time    `json:"at"`
}

// Revocations is a page of the revoked peers, in the order of their revocation.
type Revocations struct {
	Revocations []Revocation `json:"revocations" maxItems:"100"`
	Next        string       `json:"next,omitempty" maxLength:"64" doc:"the parameter after of the next page"`
}

// JoinRequest is a peer that was refused because it had no invite. It has proved that it
// holds its key, so an administrator can approve its ID.
type JoinRequest struct {
	Peer   ident.PeerID `json:"peer" maxLength:"63"`
	Source string       `json:"source,omitempty" maxLength:"64" doc:"its IPv4 address or IPv6 /64; absent if unknown"`
	Last   time.Time    `json:"last" doc:"its last request, to the minute"`
}

// JoinRequests lists the requests of the last day, newest first. Of the peers that ask
// from one source within one minute only one is listed.
type JoinRequests struct {
	Peers []JoinRequest `json:"peers" maxItems:"50"`
}

// Approval lets a peer register once without an invite.
type Approval struct {
	Peer    ident.PeerID `json:"peer" maxLength:"63"`
	Expires time.Time    `json:"expires"`
}

// Approvals is a page of the approvals that are not used yet, ordered by ID.
type Approvals struct {
	Approvals []Approval `json:"approvals" maxItems:"100"`
	Next      string     `json:"next,omitempty" maxLength:"64" doc:"the parameter after of the next page"`
}

// Event is one row of the audit log. An event that happened several times within a
// minute is one row.
type Event struct {
	Number int64     `json:"number" minimum:"1" maximum:"9007199254740991" doc:"rises with each event, with gaps"`
	At     time.Time `json:"at"`
	Kind   string    `json:"kind" maxLength:"32"`
	Actor  string    `json:"actor" maxLength:"32" doc:"server, peer, stranger, or admin and the token's ID"`
	// Peer is absent if the event does not concern a peer. For refusals that were counted
	// together it is one of the peers.
	Peer   ident.PeerID `json:"peer,omitzero" maxLength:"63" doc:"the peer that the event concerns, if any"`
	Other  ident.PeerID `json:"other,omitzero" maxLength:"63" doc:"the other peer of a pairing"`
	Source string       `json:"source,omitempty" maxLength:"64" doc:"IPv4 address or IPv6 /64, if known and only one"`
	Detail string       `json:"detail,omitempty" maxLength:"200" doc:"details for people"`
	Count  int          `json:"count" minimum:"1" maximum:"2147483647" doc:"how often it happened within a minute"`
}

// Events is a page of the audit log, newest first.
type Events struct {
	Events []Event `json:"events" maxItems:"100"`
	Next   string  `json:"next,omitempty" maxLength:"64" doc:"the parameter after of the next page"`
}

// Instance is a process of the rendezvous that holds a lease.
type Instance struct {
	Name    string    `json:"name" maxLength:"128"`
	Region  string    `json:"region,omitempty" maxLength:"64" doc:"the operator's name for its location"`
	Address string    `json:"address,omitempty" maxLength:"256" doc:"its address for other instances, if there are any"`
	Epoch   int64     `json:"epoch" minimum:"1" maximum:"9007199254740991" doc:"of its lease; unique"`
	Until   time.Time `json:"until" doc:"the end of the lease; it is renewed every second"`
	Peers   int       `json:"peers" minimum:"0" maximum:"2147483647" doc:"connected peers"`
	Version string    `json:"version,omitempty" maxLength:"64" doc:"of the software"`
	Load    *Load     `json:"load,omitempty" doc:"the latest minute; absent during the first"`
}

// Load holds the figures of an instance for one minute.
type Load struct {
	At            time.Time `json:"at" doc:"the beginning of the minute"`
	PairsDirect   int       `json:"pairs_direct" minimum:"0" maximum:"2147483647" doc:"at the end of the minute"`
	PairsRelayed  int       `json:"pairs_relayed" minimum:"0" maximum:"2147483647"`
	RelayBytes    int64     `json:"relay_bytes" minimum:"0" maximum:"9007199254740991"`
	RelayPackets  int64     `json:"relay_packets" minimum:"0" maximum:"9007199254740991"`
	Registrations int64     `json:"registrations" minimum:"0" maximum:"9007199254740991"`
	Refusals      int64     `json:"refusals" minimum:"0" maximum:"9007199254740991"`
}

// Instances lists every instance, ordered by name.
type Instances struct {
	Instances []Instance `json:"instances" maxItems:"1000"`
}
