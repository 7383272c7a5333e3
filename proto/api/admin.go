package api

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Scope is a part of the rendezvous that an administrator's token covers.
type Scope string

// The scopes.
const (
	ScopePeers   Scope = "peers"   // list, read, rename, revoke and readmit peers; see their pairs and their use of the relay
	ScopeInvites Scope = "invites" // make, list and revoke invites
	ScopeAudit   Scope = "audit"   // read the audit log, the instances and the history
	ScopeAdmin   Scope = "admin"   // all of these, and the tokens themselves
)

// Scopes is every scope.
var Scopes = []Scope{ScopePeers, ScopeInvites, ScopeAudit, ScopeAdmin}

// AdminLinkUse trades a one-time admin link for a token with every scope.
type AdminLinkUse struct {
	Code  string `json:"code" minLength:"1" maxLength:"64" doc:"the secret in the link; it is good once" example:"uN2d0rG8Xw3sZk1TqYcVhA"`
	Label string `json:"label,omitempty" maxLength:"128" doc:"whose token it will be" example:"Ada's phone"`
}

// AdminTokenRequest asks for a token for an administrator.
type AdminTokenRequest struct {
	Label   string  `json:"label,omitempty" maxLength:"128" doc:"whose it is" example:"helpdesk"`
	Scopes  []Scope `json:"scopes" nullable:"false" minItems:"1" maxItems:"4" maxLength:"16" enum:"peers,invites,audit,admin" doc:"what it covers" example:"peers,invites"`
	Seconds int     `json:"seconds,omitempty" minimum:"0" maximum:"31536000" doc:"how long it is good; 0 is 90 days" example:"2592000"`
}

// AdminToken is a token of an administrator.
type AdminToken struct {
	ID      string    `json:"id" maxLength:"16" doc:"names it; no secret" example:"9f0c2b7d41aa35e6"`
	Token   string    `json:"token,omitempty" maxLength:"128" doc:"the secret; it is in the answer that made it and nowhere else" example:"efa_nwwrfUGqNeZ3uBzv0m8kJm0Q2QmX7Jc1yTqPZr9sVw4hDdL6gE1aBQ"`
	Label   string    `json:"label" maxLength:"128" example:"helpdesk"`
	Scopes  []Scope   `json:"scopes" nullable:"false" maxItems:"4" maxLength:"16" enum:"peers,invites,audit,admin" example:"peers,invites"`
	Created time.Time `json:"created" example:"2026-03-01T12:00:00Z"`
	Expires time.Time `json:"expires" example:"2026-05-30T12:00:00Z"`
	Revoked bool      `json:"revoked" example:"false"`
	Session bool      `json:"session" doc:"whether it is a browser that is signed in to the administrators' page, and no token for this interface" example:"false"`
}

// AdminTokens is a page of the administrators' tokens, oldest first.
type AdminTokens struct {
	Tokens []AdminToken `json:"tokens" nullable:"false" maxItems:"100"`
	Next   string       `json:"next,omitempty" maxLength:"64" doc:"after of the next page; absent on the last" example:"AAABnKy2aACfDCt9Qao15g"`
}

// InviteRequest asks for an invite.
type InviteRequest struct {
	Label   string `json:"label,omitempty" maxLength:"128" doc:"for whom it is; only administrators see it" example:"the workshop"`
	Uses    int    `json:"uses,omitempty" minimum:"0" maximum:"1000000" doc:"how many peers may register with it; 0 is any number" example:"1"`
	Seconds int    `json:"seconds,omitempty" minimum:"0" maximum:"31536000" doc:"how long it is good; 0 is a day" example:"86400"`
}

// Invite lets peers register.
type Invite struct {
	ID      string    `json:"id" maxLength:"16" doc:"names it; no secret" example:"51c3a8d0e27f9b64"`
	Code    string    `json:"code,omitempty" maxLength:"64" doc:"the secret; it is in the answer that made it and nowhere else" example:"Zk1TqYcVhAuN2d0rG8Xw3s"`
	Label   string    `json:"label" maxLength:"128" example:"the workshop"`
	Uses    int       `json:"uses" minimum:"0" maximum:"1000000" doc:"how many peers may register with it in all; 0 is any number" example:"1"`
	Used    int       `json:"used" minimum:"0" maximum:"2147483647" doc:"how many did" example:"0"`
	Created time.Time `json:"created" example:"2026-03-01T12:00:00Z"`
	Expires time.Time `json:"expires" example:"2026-03-02T12:00:00Z"`
	Revoked bool      `json:"revoked" example:"false"`
}

// Invites is a page of the invites, oldest first. Those that ended are in it
// for another week.
type Invites struct {
	Invites []Invite `json:"invites" nullable:"false" maxItems:"100"`
	Next    string   `json:"next,omitempty" maxLength:"64" doc:"after of the next page; absent on the last" example:"AAABnKy2aACfDCt9Qao15g"`
}

// AdminPeer is a peer as administrators see it. Its ETag is its version.
type AdminPeer struct {
	ID          ident.PeerID `json:"id" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Name        string       `json:"name" maxLength:"64" example:"Workshop PC"`
	Created     time.Time    `json:"created" doc:"when it first registered" example:"2026-03-01T12:00:00Z"`
	Version     int64        `json:"version" minimum:"1" maximum:"9007199254740991" doc:"rises with each change of the name; If-Match takes it in quotes" example:"3"`
	Online      bool         `json:"online" doc:"whether it has a signalling connection" example:"true"`
	OnlineSince time.Time    `json:"online_since,omitzero" doc:"since when; absent if it has none" example:"2026-03-01T12:00:00Z"`
	Instance    string       `json:"instance,omitempty" maxLength:"128" doc:"at which instance; absent if it has none" example:"rv-1-9f0c2b7d"`
	LastSeen    time.Time    `json:"last_seen,omitzero" doc:"when its last connection ended; absent while it has one, and if that is not known" example:"2026-03-01T12:00:00Z"`
}

// AdminPeers is a page of all peers, ordered by ID.
type AdminPeers struct {
	Peers []AdminPeer `json:"peers" nullable:"false" maxItems:"100"`
	Next  string      `json:"next,omitempty" maxLength:"64" doc:"after of the next page; absent on the last" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
}

// Revocation is a peer that an administrator has sent away. It may not register
// again until it is readmitted.
type Revocation struct {
	Peer ident.PeerID `json:"peer" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Name string       `json:"name" maxLength:"64" doc:"that it had" example:"Lost laptop"`
	At   time.Time    `json:"at" example:"2026-03-01T12:00:00Z"`
}

// Revocations is a page of the revoked peers, the earliest revoked first.
type Revocations struct {
	Revocations []Revocation `json:"revocations" nullable:"false" maxItems:"100"`
	Next        string       `json:"next,omitempty" maxLength:"64" doc:"after of the next page; absent on the last" example:"42"`
}

// AskingPeer is a peer that was refused because it had no invite. It has proved
// its key, so that its ID may be approved.
type AskingPeer struct {
	Peer   ident.PeerID `json:"peer" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Source string       `json:"source,omitempty" maxLength:"64" doc:"the IPv4 address or the IPv6 /64 that asked; absent if unknown" example:"192.0.2.7"`
	Last   time.Time    `json:"last" doc:"when it asked last, within a minute" example:"2026-03-01T12:00:00Z"`
}

// AskingPeers are those of the last day, the last first. Of those that ask from
// one source within one minute only one is known.
type AskingPeers struct {
	Peers []AskingPeer `json:"peers" nullable:"false" maxItems:"50"`
}

// Approval lets a peer register once without an invite.
type Approval struct {
	Peer    ident.PeerID `json:"peer" maxLength:"63" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Expires time.Time    `json:"expires" example:"2026-03-08T12:00:00Z"`
}

// Approvals is a page of the approvals that were not used yet, ordered by ID.
type Approvals struct {
	Approvals []Approval `json:"approvals" nullable:"false" maxItems:"100"`
	Next      string     `json:"next,omitempty" maxLength:"64" doc:"after of the next page; absent on the last" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
}

// Event is one row of the audit log.
type Event struct {
	Number int64        `json:"number" minimum:"1" maximum:"9007199254740991" doc:"rises with each event; some are missing" example:"4711"`
	At     time.Time    `json:"at" example:"2026-03-01T12:00:00Z"`
	Kind   string       `json:"kind" maxLength:"32" enum:"registered,refused,paired,peer_renamed,peer_left,peer_revoked,peer_readmitted,peer_approved,peer_disapproved,invite_created,invite_revoked,token_created,token_revoked,signed_in,signed_out" example:"peer_revoked"`
	Actor  string       `json:"actor" maxLength:"32" doc:"server, peer, stranger, or admin and the token's ID" example:"admin 9f0c2b7d41aa35e6"`
	Peer   ident.PeerID `json:"peer,omitzero" maxLength:"63" doc:"whom it is about, if it is about a peer; of refusals one of those that were counted" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Other  ident.PeerID `json:"other,omitzero" maxLength:"63" doc:"the other peer of a pairing" example:"K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS"`
	Source string       `json:"source,omitempty" maxLength:"64" doc:"the IPv4 address or the IPv6 /64 that asked; absent if unknown or several" example:"192.0.2.7"`
	Detail string       `json:"detail,omitempty" maxLength:"200" doc:"in words" example:"Lost laptop"`
	Count  int          `json:"count" minimum:"1" maximum:"2147483647" doc:"how often it happened within a minute" example:"1"`
}

// Events is a page of the audit log, newest first.
type Events struct {
	Events []Event `json:"events" nullable:"false" maxItems:"100"`
	Next   string  `json:"next,omitempty" maxLength:"64" doc:"after of the next page; absent on the last" example:"4711"`
}

// Instance is a process of the rendezvous that has a lease.
type Instance struct {
	Name    string    `json:"name" maxLength:"128" example:"rv-1-9f0c2b7d"`
	Region  string    `json:"region,omitempty" maxLength:"64" doc:"where it stands, as its operator calls that" example:"eu-west"`
	Address string    `json:"address,omitempty" maxLength:"256" doc:"where the other instances reach it; absent if it is alone" example:"10.0.0.7:7579"`
	Epoch   int64     `json:"epoch" minimum:"1" maximum:"9007199254740991" doc:"of its lease; no other lease has it" example:"17"`
	Until   time.Time `json:"until" doc:"how long the lease is good; it is renewed every second" example:"2026-03-01T12:00:05Z"`
	Peers   int       `json:"peers" minimum:"0" maximum:"2147483647" doc:"how many are connected to it" example:"204"`
	Version string    `json:"version,omitempty" maxLength:"64" doc:"of the software" example:"1.0.0"`
	Load    *Load     `json:"load,omitempty" doc:"its newest minute; absent until there is one"`
}

// Load is what an instance did in a minute.
type Load struct {
	At            time.Time `json:"at" doc:"when the minute began" example:"2026-03-01T12:00:00Z"`
	PairsDirect   int       `json:"pairs_direct" minimum:"0" maximum:"2147483647" doc:"at its end, of its peers" example:"61"`
	PairsRelayed  int       `json:"pairs_relayed" minimum:"0" maximum:"2147483647" example:"7"`
	RelayBytes    int64     `json:"relay_bytes" minimum:"0" maximum:"9007199254740991" example:"1048576"`
	RelayPackets  int64     `json:"relay_packets" minimum:"0" maximum:"9007199254740991" example:"900"`
	Registrations int64     `json:"registrations" minimum:"0" maximum:"9007199254740991" example:"2"`
	Refusals      int64     `json:"refusals" minimum:"0" maximum:"9007199254740991" example:"0"`
}

// Instances is every instance, ordered by name.
type Instances struct {
	Instances []Instance `json:"instances" nullable:"false" maxItems:"1000"`
}
