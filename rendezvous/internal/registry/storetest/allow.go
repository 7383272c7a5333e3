package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// permission lets peer find and signal owner.
func permission(owner, peer ident.PeerID) peers.Permission {
	return peers.Permission{Owner: owner, Peer: peer}
}

// allowance is a permission since start.
func allowance(owner, peer ident.PeerID) peers.Allowance {
	return peers.Allowance{Permission: permission(owner, peer), Since: start}
}

// onlyAllowedPeersFindAnOwner checks that a peer finds an owner only with a permission, and that a missing
// permission looks the same as an unknown owner.
func onlyAllowedPeersFindAnOwner(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	admit(t, db, 2)
	_, denied := db.Peers.PeerFor(ctx, permission(id(1), id(2)))
	is(t, "denied", denied, peers.ErrNotFound)
	_, unknown := db.Peers.PeerFor(ctx, permission(id(3), id(2)))
	is(t, "unknown", unknown, peers.ErrNotFound)
	if denied == nil || unknown == nil || denied.Error() != unknown.Error() {
		t.Errorf("denied %q and unknown %q differ", denied, unknown)
	}

	a := allowance(id(1), id(2))
	since, err := db.AllowList.Allow(ctx, a, 10)
	must(t, "allow", err)
	equal(t, "since", since, start)
	a.Since = start.Add(time.Hour)
	since, err = db.AllowList.Allow(ctx, a, 10)
	must(t, "allow again", err)
	equal(t, "since", since, start)
	p, err := db.Peers.PeerFor(ctx, permission(id(1), id(2)))
	must(t, "allowed", err)
	equal(t, "found", p.ID, id(1))
	_, err = db.Peers.PeerFor(ctx, permission(id(2), id(1)))
	is(t, "the reverse direction", err, peers.ErrNotFound)
	_, ok, err := db.AllowList.Allowed(ctx, permission(id(1), id(2)))
	must(t, "allowed", err)
	equal(t, "allowed", ok, true)

	must(t, "disallow", db.AllowList.Disallow(ctx, permission(id(1), id(2))))
	must(t, "disallow again", db.AllowList.Disallow(ctx, permission(id(1), id(2))))
	_, err = db.Peers.PeerFor(ctx, permission(id(1), id(2)))
	is(t, "denied again", err, peers.ErrNotFound)
	_, ok, err = db.AllowList.Allowed(ctx, permission(id(1), id(2)))
	must(t, "allowed", err)
	equal(t, "allowed", ok, false)
}

// permissionsAreBounded checks the bound on the permissions of one owner.
func permissionsAreBounded(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	for i := range 3 {
		_, err := db.AllowList.Allow(ctx, allowance(id(1), id(10+i)), 3)
		must(t, "allow", err)
	}
	_, err := db.AllowList.Allow(ctx, allowance(id(1), id(20)), 3)
	is(t, "one beyond the bound", err, peers.ErrAllowedLimit)
	_, err = db.AllowList.Allow(ctx, allowance(id(1), id(10)), 3)
	is(t, "an existing permission", err, nil)

	got, err := db.AllowList.AllowedBy(ctx, id(1))
	must(t, "list", err)
	want := []ident.PeerID{id(10), id(11), id(12)}
	slices.SortFunc(want, ident.PeerID.Compare)
	if len(got) != 3 {
		t.Fatalf("got %d permissions", len(got))
	}
	for i, a := range got {
		if a.Owner != id(1) || a.Peer != want[i] || !a.Since.Equal(start) {
			t.Errorf("permission %d: %+v", i, a)
		}
	}
}

// concurrentPermissionsAreBounded checks the same bound with concurrent requests.
func concurrentPermissionsAreBounded(t *testing.T, db *database.Database) {
	admit(t, db, 1)
	ok, failed := race(20, func(i int) error {
		_, err := db.AllowList.Allow(t.Context(), allowance(id(1), id(100+i)), 5)
		return err
	})
	equal(t, "allowed", ok, 5)
	for _, err := range failed {
		if !errors.Is(err, peers.ErrAllowedLimit) {
			t.Errorf("a concurrent request: %v", err)
		}
	}
}
