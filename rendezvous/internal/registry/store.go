package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Store keeps what a rendezvous must not forget. Every method takes the moment
// it happens at where time matters, is safe for concurrent use, and takes
// effect wholly or not at all. Times are kept to the millisecond.
//
// A failure of the database itself (gone, full, read-only) wraps
// [ErrUnavailable]; the other errors are those that the methods name.
type Store interface {
	PeerStore
	RevocationStore
	ApprovalStore
	InviteStore
	AllowStore
	MailboxStore
	LeaseStore
	PresenceStore
	AdminStore
	AuditStore
	PathStore
	HistoryStore
	BlobStore
	LockStore
	Upkeep
}

// PeerStore keeps the registered peers.
type PeerStore interface {
	// Admit registers a peer, or renews one that is known: its token becomes
	// the admission's, and so does its name unless an administrator gave it
	// one. Only a new peer needs an invite or an approval, and is an event. Errors: ErrReplayed,
	// ErrInviteNeeded, ErrInvite, ErrRevoked.
	Admit(ctx context.Context, a Admission) (Admitted, error)
	// Peer returns a peer. Errors: ErrPeerNotFound.
	Peer(ctx context.Context, id ident.PeerID) (Peer, error)
	// PeerByToken returns the peer whose token begins so. Errors:
	// ErrPeerNotFound.
	PeerByToken(ctx context.Context, prefix TokenPrefix) (Peer, error)
	// PeerFor returns a peer as caller may see it: only if the peer allows it.
	// An unknown peer and one that does not allow it cost the same work.
	// Errors: ErrPeerNotFound.
	PeerFor(ctx context.Context, caller, id ident.PeerID) (Peer, error)
	// Peers returns some of all peers, ordered by ID.
	Peers(ctx context.Context, q PeerQuery) ([]Peer, error)
	// Rename changes a peer's name. Errors: ErrPeerNotFound, ErrChanged.
	Rename(ctx context.Context, n Naming) error
}

// RevocationStore keeps the peers that may not come back.
type RevocationStore interface {
	// RevokePeer removes a peer and its token, its mailboxes, its presence and
	// every permission by or for it, and keeps its ID from registering. version
	// is the one that the peer must have, 0 any. Errors: ErrPeerNotFound,
	// ErrChanged.
	RevokePeer(ctx context.Context, r Revocation, version int64, e Event) error
	// RemovePeer removes all of that too, but lets the peer register again.
	// Errors: ErrPeerNotFound.
	RemovePeer(ctx context.Context, id ident.PeerID, e Event) error
	// Readmit lets a revoked peer register again. Errors: ErrPeerNotFound.
	Readmit(ctx context.Context, id ident.PeerID, e Event) error
	// Revocations returns at most limit revocations with a number above since,
	// in order. What is committed later has a higher number.
	Revocations(ctx context.Context, since int64, limit int) ([]Revocation, error)
	// Revoked reports whether a peer is revoked.
	Revoked(ctx context.Context, id ident.PeerID) (bool, error)
}

// ApprovalStore keeps the peers that may register once without an invite. Admit
// uses an approval up where it needs one.
type ApprovalStore interface {
	// Approve keeps an approval in place of the one before. Errors:
	// ErrApprovalLimit beyond max approvals.
	Approve(ctx context.Context, a Approval, max int, e Event) error
	// Disapprove takes that back. Errors: ErrPeerNotFound if there is none.
	Disapprove(ctx context.Context, id ident.PeerID, e Event) error
	// Approvals returns at most limit approvals of peers with an ID above after,
	// in order, those too that have just expired.
	Approvals(ctx context.Context, after ident.PeerID, limit int) ([]Approval, error)
}

// InviteStore keeps the invites. Admit uses them up.
type InviteStore interface {
	// PutInvite keeps an invite and the event that tells of it, and returns the
	// invite as it is kept: one that is there already stays as it is, and is no
	// event.
	PutInvite(ctx context.Context, i Invite, e Event) (Invite, error)
	// Invite returns an invite. Errors: ErrInviteNotFound.
	Invite(ctx context.Context, id InviteID) (Invite, error)
	// Invites returns a page of those that Sweep has not removed, oldest first.
	Invites(ctx context.Context, p Page) ([]Invite, error)
	// RevokeInvite ends an invite for good. Twice is fine and no second event.
	// Errors: ErrInviteNotFound.
	RevokeInvite(ctx context.Context, id InviteID, e Event) error
}

// AllowStore keeps who may find and signal whom.
type AllowStore interface {
	// Allow lets peer find owner, and returns since when. peer need not be
	// registered: the answer must not tell. Errors: ErrAllowedLimit if owner
	// allows max others already.
	Allow(ctx context.Context, a Allowance, max int) (since time.Time, err error)
	// Disallow takes that back. Nothing to take back is fine.
	Disallow(ctx context.Context, owner, peer ident.PeerID) error
	// Allowed reports whether owner lets peer find it, and since when.
	Allowed(ctx context.Context, owner, peer ident.PeerID) (since time.Time, ok bool, err error)
	// AllowedBy returns everyone whom owner allows, ordered by ID.
	AllowedBy(ctx context.Context, owner ident.PeerID) ([]Allowance, error)
}

// MailboxStore keeps the pairing mailboxes until a while after they expired.
type MailboxStore interface {
	// CreateMailbox keeps a new mailbox. Errors: ErrMailboxExists,
	// ErrMailboxLimit if its owner has limit.Open open or limit.Kept in all.
	CreateMailbox(ctx context.Context, m Mailbox, limit MailboxLimit) error
	// Mailbox returns a mailbox. Errors: ErrMailboxNotFound.
	Mailbox(ctx context.Context, a ident.Address) (Mailbox, error)
	// AddTry adds a try by t.Peer at t.Made and returns its number, counted
	// from 1. The same opening by the same peer is the same try. Errors:
	// ErrMailboxNotFound, ErrMailboxExpired, ErrMailboxClosed,
	// ErrMailboxBurned beyond max tries.
	AddTry(ctx context.Context, a ident.Address, t Try, max int) (number int, err error)
	// Tries returns the tries of a mailbox in order.
	Tries(ctx context.Context, a ident.Address) ([]Try, error)
	// SetStep adds a message to a try that has the one before, and keeps the
	// event that tells of it, if any. The same message again is fine, and is no
	// event. Errors: ErrTryNotFound, ErrTryState.
	SetStep(ctx context.Context, a ident.Address, m StepMessage, e *Event) error
	// CloseMailbox closes a mailbox and forgets its messages. Closing twice, or
	// one that is not there, is fine.
	CloseMailbox(ctx context.Context, a ident.Address) error
}

// LeaseStore keeps the leases of the instances: one row each, by which all of
// an instance's presence lives and dies. Where instances on several machines
// share the store, a lease is over once it is by the store's own clock, even if
// the moment that is given is an earlier one: who was paused with a moment in
// its hand cannot use it later.
type LeaseStore interface {
	// Clock is the store's clock, by which the leases and the connections of
	// all instances are put in order.
	Clock(ctx context.Context) (time.Time, error)
	// TakeLease makes this process the instance i until now+ttl, whoever was it
	// before, and returns its epoch, which no lease ever had. Those of i are
	// left aside.
	TakeLease(ctx context.Context, i Instance, now time.Time, ttl time.Duration) (epoch int64, err error)
	// RenewLease prolongs a lease until now+ttl. Errors: ErrFenced if the lease
	// has lapsed or another process has it.
	RenewLease(ctx context.Context, h Holder, now time.Time, ttl time.Duration) error
	// ReleaseLease ends a lease, and with it the presence under it. A lease
	// that is not held is fine.
	ReleaseLease(ctx context.Context, h Holder) error
	// Instances returns the instances with a lease at now, ordered by name.
	Instances(ctx context.Context, now time.Time) ([]Instance, error)
}

// PresenceStore keeps at which instance a peer is connected.
type PresenceStore interface {
	// PutPresence says that peers are connected at the holder. For each peer
	// the newest connection wins; rows of lapsed leases always lose. It returns
	// the older connections at other instances that have a lease, who do not
	// know yet that they lost. Errors: ErrFenced if the holder has no lease at
	// now; then nothing is written.
	PutPresence(ctx context.Context, h Holder, now time.Time, peers []Presence) ([]Replaced, error)
	// RemovePresence says that connections have ended. It removes only what the
	// holder wrote for these connections or older ones, and keeps now as when
	// those peers were last seen. Errors: ErrFenced.
	RemovePresence(ctx context.Context, h Holder, now time.Time, peers []Presence) error
	// LocatePeers returns where peers are connected. Who is nowhere is not in
	// the map.
	LocatePeers(ctx context.Context, ids []ident.PeerID, now time.Time) (map[ident.PeerID]Location, error)
	// LastSeen returns when the last connection of peers ended. Who never was
	// connected, or whose instance died with it, is not in the map.
	LastSeen(ctx context.Context, ids []ident.PeerID) (map[ident.PeerID]time.Time, error)
	// CountPresence returns how many peers are connected under each epoch,
	// lapsed ones too. It looks at every row.
	CountPresence(ctx context.Context) (map[int64]int, error)
}

// Upkeep is the store's own life.
type Upkeep interface {
	// Sweep removes what is over: used challenges, mailboxes, invites,
	// administrators' tokens and links, old events, lapsed locks, lapsed leases
	// and the presence under them.
	Sweep(ctx context.Context, now time.Time) error
	// CountPeers returns how many peers are registered.
	CountPeers(ctx context.Context) (int, error)
	// Secret returns the secret kept under a name, which is fresh if there was
	// none: every instance gets the same.
	Secret(ctx context.Context, name string, fresh []byte) ([]byte, error)
	// Pool tells of the connections to the database.
	Pool() Pool
	// Ping reports whether the store can be written to.
	Ping(ctx context.Context) error
	// Close lets go of it.
	Close() error
}

// Pool is the connections to a database at a moment.
type Pool struct {
	InUse, Idle, Max int
	Waits            int64         // for a connection, ever
	Waited           time.Duration // ever
}

// MaxBatch bounds the peers of one call of PutPresence, RemovePresence,
// LocatePeers or LastSeen, and the events of one call of AddEvents.
const MaxBatch = 1000

// Digest is the SHA-256 of a secret, which is all that is kept of it.
type Digest [sha256.Size]byte

// TokenPrefix is the public beginning of a token, by which it is found.
type TokenPrefix [8]byte

// Peer is a registered peer.
type Peer struct {
	ID          ident.PeerID
	PublicKey   ed25519.PublicKey
	Name        string
	Created     time.Time
	TokenPrefix TokenPrefix
	TokenHash   Digest
	Version     int64 // rises with each change of the name, from 1
}

// Admitted is what an admission came to.
type Admitted struct {
	Created bool // the peer was not known before
	Name    string
}

// PeerQuery asks for some of all peers.
type PeerQuery struct {
	After ident.PeerID // only peers with a higher ID; zero is all
	Limit int          // at least 1
	Name  string       // only peers whose name holds this, whatever the case of its ASCII letters
	// First to Last are IDs of peers that are wanted too where Name is not in
	// theirs, and only these where Name is "". Both zero is none.
	First, Last ident.PeerID
}

// Everyone reports whether all peers are wanted.
func (q PeerQuery) Everyone() bool { return q.Name == "" && q.Last.IsZero() }

// Naming is a change of a peer's name.
type Naming struct {
	ID      ident.PeerID
	Name    string
	Version int64 // that the peer must have; 0 is any
	// By is the event where an administrator gives the name, which then stays
	// until the peer changes it itself; nil if the peer does.
	By *Event
}

// Approval lets a peer register once without an invite.
type Approval struct {
	Peer    ident.PeerID
	Expires time.Time
}

// Revocation is a peer that an administrator has sent away.
type Revocation struct {
	Number int64 // given by the store, rising
	Peer   ident.PeerID
	Name   string // that it had
	At     time.Time
}

// Admission is a registration whose proof was checked.
type Admission struct {
	Peer             Peer
	Now              time.Time
	Challenge        [challengeRandom]byte // good once
	ChallengeExpires time.Time
	Open             bool    // a new peer needs no invite
	Invite           *Digest // nil without one
	Event            Event   // tells of a new peer
}

// Invite lets new peers register.
type Invite struct {
	Hash      Digest
	Label     string
	Unlimited bool
	Uses      int // left, unless unlimited
	Used      int // how many peers it let in
	Created   time.Time
	Expires   time.Time
	Revoked   bool
}

// InviteID names an invite: the beginning of its digest, which is no secret.
type InviteID [8]byte

// Allowance is one peer's permission to find and signal another.
type Allowance struct {
	Owner ident.PeerID
	Peer  ident.PeerID
	Since time.Time
}

// Mailbox is a pairing mailbox.
type Mailbox struct {
	Address ident.Address
	Owner   ident.PeerID
	Created time.Time
	Expires time.Time
	Closed  bool
}

// MailboxLimit bounds the mailboxes of one owner.
type MailboxLimit struct {
	Open int // neither closed nor expired
	Kept int // in all, until Sweep removes them
}

// Try is one attempt to pair through a mailbox.
type Try struct {
	Number       int
	Peer         ident.PeerID
	Made         time.Time
	Opening      []byte
	Answer       []byte // nil until it is there
	Confirmation []byte // nil until it is there
}

// Step is a message of a try after its opening.
type Step int

// The steps, in order.
const (
	StepAnswer       Step = iota + 1 // by the owner
	StepConfirmation                 // by the peer that made the try
)

// StepMessage is a message for a try.
type StepMessage struct {
	Number int // of the try
	Step   Step
	Body   []byte
}

// Holder is an instance's claim to its lease.
type Holder struct {
	Instance string
	Epoch    int64
}

// Instance is a process of the rendezvous that has a lease.
type Instance struct {
	Name    string
	Epoch   int64
	Address string // where the other instances reach it
	Version string // of the software; "" of one that does not say
	Region  string // where it stands, as its operator calls that; "" without a name
	Relay   string // the addresses at which it relays, as relay.Range writes them; "" if it does not say
	Until   time.Time
}

// Presence is one connection of a peer.
type Presence struct {
	Peer  ident.PeerID
	Since time.Time
}

// Replaced is an older connection of a peer that has connected anew.
type Replaced struct {
	Presence        // the new connection
	Instance string // where the older one is
}

// Location is where a peer is connected.
type Location struct {
	Instance string
	Epoch    int64
	Since    time.Time
}
