package registry

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// InviteSpec is what an invite shall be.
type InviteSpec struct {
	Code  string        // the secret; "" draws one
	Label string        // for whom, at most 128 printable characters
	Uses  int           // 0 is any number
	TTL   time.Duration // at most a year; 0 is a day
	// Key makes the request repeatable: the same key by the same actor is the
	// same invite. "" is a new one each time.
	Key string
}

// CreateInvite makes an invite and returns its code, of which only the digest
// is kept. An invite with the same code stays as it is, and is returned so.
// Errors: ErrInviteSpec, ErrIdempotency.
func (r *Registry) CreateInvite(ctx context.Context, s InviteSpec) (code string, i Invite, err error) {
	if s.TTL == 0 {
		s.TTL = 24 * time.Hour
	}
	if s.Uses < 0 || s.Uses > api.MaxInviteUses || s.TTL < time.Second || s.TTL > api.MaxInviteTTL ||
		!plain(s.Label) || len(s.Code) > api.MaxInvite {
		return "", i, ErrInviteSpec
	}
	if s.Code == "" {
		var raw [16]byte
		if err := r.draw(ctx, "invite", s.Key, raw[:]); err != nil {
			return "", i, fmt.Errorf("new invite: %w", err)
		}
		s.Code = base64.RawURLEncoding.EncodeToString(raw[:])
	}
	now := r.cfg.Now()
	i = Invite{
		Hash: inviteDigest(s.Code), Label: s.Label, Unlimited: s.Uses == 0, Uses: s.Uses,
		Created: now, Expires: now.Add(s.TTL),
	}
	e := r.event(ctx, EventInviteCreated)
	e.Detail = detail(i.ID().String(), i.Label)
	i, err = r.cfg.Store.PutInvite(ctx, i, e)
	if err != nil {
		return "", i, err
	}
	if s.Key != "" && (i.Label != s.Label || i.Limit() != s.Uses || i.Expires.Sub(i.Created) != s.TTL) {
		return "", i, ErrIdempotency
	}
	return s.Code, i, nil
}

// Invite returns an invite. Errors: ErrInviteNotFound.
func (r *Registry) Invite(ctx context.Context, id InviteID) (Invite, error) {
	return r.cfg.Store.Invite(ctx, id)
}

// Invites returns a page of the invites, oldest first.
func (r *Registry) Invites(ctx context.Context, p Page) ([]Invite, error) {
	return r.cfg.Store.Invites(ctx, p)
}

// RevokeInvite ends an invite; whom it let in stays. Twice is fine. Errors:
// ErrInviteNotFound.
func (r *Registry) RevokeInvite(ctx context.Context, id InviteID) error {
	e := r.event(ctx, EventInviteRevoked)
	e.Detail = id.String()
	return r.cfg.Store.RevokeInvite(ctx, id, e)
}

func inviteDigest(code string) Digest { return sha256.Sum256([]byte("invite " + code)) }

// ID names the invite.
func (i Invite) ID() InviteID { return InviteID(i.Hash[:len(InviteID{})]) }

// Limit is how many peers may register with the invite in all; 0 is any number.
func (i Invite) Limit() int {
	if i.Unlimited {
		return 0
	}
	return i.Uses + i.Used
}

// Place is the invite's place in the list.
func (i Invite) Place() Cursor { return Cursor{At: i.Created, ID: i.ID()} }

// String is the ID as people see it.
func (i InviteID) String() string { return hex.EncodeToString(i[:]) }

// Range is the digests that begin with the ID.
func (i InviteID) Range() (first, last Digest) {
	copy(first[:], i[:])
	for n := copy(last[:], i[:]); n < len(last); n++ {
		last[n] = 0xff
	}
	return first, last
}
