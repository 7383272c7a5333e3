package peers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

const defaultInviteTTL = 24 * time.Hour

// InviteRetention is the time that an invite is kept after it expired, for
// administrators to see.
const InviteRetention = 7 * 24 * time.Hour

// InviteStore keeps invites. AdmissionStore uses them up.
type InviteStore interface {
	// PutInvite keeps an invite and its event, and returns the kept invite. An
	// invite with the same hash stays unchanged, and no event is written.
	PutInvite(ctx context.Context, i Invite, e audit.Event) (Invite, error)
	// Invite returns an invite. Errors: ErrInviteNotFound.
	Invite(ctx context.Context, id InviteID) (Invite, error)
	// Invites returns a page of the invites, oldest first.
	Invites(ctx context.Context, p registry.Page) ([]Invite, error)
	// RevokeInvite ends an invite. Revoking it again is not an error and writes
	// no event. Errors: ErrInviteNotFound.
	RevokeInvite(ctx context.Context, id InviteID, e audit.Event) error
}

// Invite lets new peers register.
type Invite struct {
	Hash      registry.Digest
	Label     string
	Unlimited bool
	Uses      int // left, unless unlimited
	Used      int // peers that registered with it
	Created   time.Time
	Expires   time.Time
	Revoked   bool
}

// ID returns the invite's ID.
func (i Invite) ID() InviteID { return InviteID(i.Hash[:len(InviteID{})]) }

// Limit returns how many peers may register with the invite in total; 0 is any
// number.
func (i Invite) Limit() int {
	if i.Unlimited {
		return 0
	}
	return i.Uses + i.Used
}

// Place returns the invite's position in the list of invites.
func (i Invite) Place() registry.Cursor { return registry.Cursor{At: i.Created, ID: i.ID()} }

// InviteID is the beginning of an invite's digest. It is not secret.
type InviteID [8]byte

// String returns the ID in hexadecimal, as people see it.
func (i InviteID) String() string { return hex.EncodeToString(i[:]) }

// Range returns the lowest and the highest digest that begin with the ID.
func (i InviteID) Range() (first, last registry.Digest) {
	copy(first[:], i[:])
	for n := copy(last[:], i[:]); n < len(last); n++ {
		last[n] = 0xff
	}
	return first, last
}

// InviteSpec describes a new invite.
type InviteSpec struct {
	Code  string        // the secret; "" draws one
	Label string        // for people, at most 128 printable characters
	Uses  int           // 0 is any number
	TTL   time.Duration // at most a year; 0 is a day
	// Key makes the request repeatable: the same key of the same actor yields the
	// same invite. "" creates a new invite each time.
	Key string
}

// Invites creates and lists invites. Its methods may be called concurrently.
type Invites struct {
	store   InviteStore
	secrets *registry.Secrets
	now     func() time.Time
}

// NewInvites returns the invites of a store. A nil now is time.Now.
func NewInvites(store InviteStore, secrets *registry.Secrets, now func() time.Time) (*Invites, error) {
	if store == nil || secrets == nil {
		return nil, errors.New("invites: a store and secrets are needed")
	}
	return &Invites{store: store, secrets: secrets, now: registry.Clock(now)}, nil
}

// CreateInvite creates an invite and returns its code, of which only the digest
// is kept. An invite with the same code stays unchanged and is returned. Errors:
// ErrInviteSpec, registry.ErrIdempotency.
func (s *Invites) CreateInvite(ctx context.Context, spec InviteSpec) (code string, i Invite, err error) {
	if spec.TTL == 0 {
		spec.TTL = defaultInviteTTL
	}
	if spec.Uses < 0 || spec.Uses > api.MaxInviteUses || spec.TTL < time.Second || spec.TTL > api.MaxInviteTTL ||
		!registry.ValidLabel(spec.Label) || len(spec.Code) > api.MaxInvite {
		return "", i, ErrInviteSpec
	}
	if spec.Code == "" {
		var raw [16]byte
		r := registry.Request{Purpose: "invite", Actor: audit.OriginOf(ctx).Actor, Key: spec.Key}
		if err := s.secrets.Draw(ctx, r, raw[:]); err != nil {
			return "", i, fmt.Errorf("new invite: %w", err)
		}
		spec.Code = base64.RawURLEncoding.EncodeToString(raw[:])
	}
	now := s.now()
	i = Invite{
		Hash: inviteDigest(spec.Code), Label: spec.Label, Unlimited: spec.Uses == 0, Uses: spec.Uses,
		Created: now, Expires: now.Add(spec.TTL),
	}
	e := audit.NewEvent(ctx, now, audit.KindInviteCreated)
	e.Detail = audit.Detail(i.ID().String(), i.Label)
	i, err = s.store.PutInvite(ctx, i, e)
	if err != nil {
		return "", i, err
	}
	if spec.Key != "" && (i.Label != spec.Label || i.Limit() != spec.Uses || i.Expires.Sub(i.Created) != spec.TTL) {
		return "", i, registry.ErrIdempotency
	}
	return spec.Code, i, nil
}

// Invite returns an invite. Errors: ErrInviteNotFound.
func (s *Invites) Invite(ctx context.Context, id InviteID) (Invite, error) {
	return s.store.Invite(ctx, id)
}

// Invites returns a page of the invites, oldest first.
func (s *Invites) Invites(ctx context.Context, p registry.Page) ([]Invite, error) {
	return s.store.Invites(ctx, p)
}

// RevokeInvite ends an invite. The peers that registered with it stay. Revoking
// it again is not an error. Errors: ErrInviteNotFound.
func (s *Invites) RevokeInvite(ctx context.Context, id InviteID) error {
	e := audit.NewEvent(ctx, s.now(), audit.KindInviteRevoked)
	e.Detail = id.String()
	return s.store.RevokeInvite(ctx, id, e)
}

func inviteDigest(code string) registry.Digest { return sha256.Sum256([]byte("invite " + code)) }
