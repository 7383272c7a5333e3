package registry

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Lookup returns a peer as the caller may see it: itself, or one that allows
// it. An unknown peer and one that does not are the same error, ErrPeerNotFound.
func (r *Registry) Lookup(ctx context.Context, caller, id ident.PeerID) (Peer, error) {
	if caller == id {
		return r.cfg.Store.Peer(ctx, id)
	}
	return r.cfg.Store.PeerFor(ctx, caller, id)
}

// Allow lets peer find and signal owner, and returns since when it may. It does
// not tell whether there is such a peer. Errors: ErrAllowedLimit.
func (r *Registry) Allow(ctx context.Context, owner, peer ident.PeerID) (since time.Time, err error) {
	return r.cfg.Store.Allow(ctx, Allowance{Owner: owner, Peer: peer, Since: r.cfg.Now()}, api.MaxAllowed)
}

// Disallow takes the permission back.
func (r *Registry) Disallow(ctx context.Context, owner, peer ident.PeerID) error {
	return r.cfg.Store.Disallow(ctx, owner, peer)
}

// Allowed reports whether from may find and signal to.
func (r *Registry) Allowed(ctx context.Context, from, to ident.PeerID) (bool, error) {
	_, ok, err := r.cfg.Store.Allowed(ctx, to, from)
	return ok, err
}

// Allowance returns owner's permission for peer. Errors: ErrPeerNotFound if it
// gave none.
func (r *Registry) Allowance(ctx context.Context, owner, peer ident.PeerID) (Allowance, error) {
	since, ok, err := r.cfg.Store.Allowed(ctx, owner, peer)
	if err == nil && !ok {
		err = ErrPeerNotFound
	}
	return Allowance{Owner: owner, Peer: peer, Since: since}, err
}

// AllowedBy returns everyone whom owner allows, ordered by ID.
func (r *Registry) AllowedBy(ctx context.Context, owner ident.PeerID) ([]Allowance, error) {
	return r.cfg.Store.AllowedBy(ctx, owner)
}

// as turns one error into another.
func as(err, from, to error) error {
	if errors.Is(err, from) {
		return to
	}
	return err
}
