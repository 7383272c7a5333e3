package peers

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// AllowStore keeps permissions.
type AllowStore interface {
	// Allow keeps a permission and returns since when it exists. The permitted
	// peer need not be registered: the answer must not reveal whether it is.
	// Errors: ErrAllowedLimit if the owner allows max other peers already.
	Allow(ctx context.Context, a Allowance, max int) (since time.Time, err error)
	// Disallow removes a permission if it exists.
	Disallow(ctx context.Context, p Permission) error
	// Allowed reports whether a permission exists, and since when.
	Allowed(ctx context.Context, p Permission) (since time.Time, ok bool, err error)
	// AllowedBy returns the permissions that an owner gave, ordered by peer.
	AllowedBy(ctx context.Context, owner ident.PeerID) ([]Allowance, error)
}

// Permission lets Peer find and signal Owner. Only Owner can give it.
type Permission struct {
	Owner ident.PeerID
	Peer  ident.PeerID
}

// Allowance is an existing permission.
type Allowance struct {
	Permission
	Since time.Time
}

// AllowList keeps the permissions of peers to find and signal each other. Its
// methods may be called concurrently.
type AllowList struct {
	store AllowStore
	now   func() time.Time
}

// NewAllowList returns the allow list of a store. A nil now is time.Now.
func NewAllowList(store AllowStore, now func() time.Time) (*AllowList, error) {
	if store == nil {
		return nil, errors.New("allow list: a store is needed")
	}
	return &AllowList{store: store, now: registry.Clock(now)}, nil
}

// Allow gives a permission and returns since when it exists. The answer does not
// reveal whether the permitted peer is registered. Errors: ErrAllowedLimit.
func (l *AllowList) Allow(ctx context.Context, p Permission) (since time.Time, err error) {
	return l.store.Allow(ctx, Allowance{Permission: p, Since: l.now()}, api.MaxAllowed)
}

// Disallow removes a permission if it exists.
func (l *AllowList) Disallow(ctx context.Context, p Permission) error {
	return l.store.Disallow(ctx, p)
}

// Allowed reports whether a permission exists.
func (l *AllowList) Allowed(ctx context.Context, p Permission) (bool, error) {
	_, ok, err := l.store.Allowed(ctx, p)
	return ok, err
}

// Allowance returns a permission and since when it exists. Errors: ErrNotFound if
// it does not exist.
func (l *AllowList) Allowance(ctx context.Context, p Permission) (Allowance, error) {
	since, ok, err := l.store.Allowed(ctx, p)
	if err == nil && !ok {
		err = ErrNotFound
	}
	return Allowance{Permission: p, Since: since}, err
}

// AllowedBy returns the permissions that an owner gave, ordered by peer.
func (l *AllowList) AllowedBy(ctx context.Context, owner ident.PeerID) ([]Allowance, error) {
	return l.store.AllowedBy(ctx, owner)
}
