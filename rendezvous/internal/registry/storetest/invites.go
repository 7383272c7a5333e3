package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// invite returns the nth invite.
func invite(n byte, uses int) peers.Invite {
	return peers.Invite{
		Hash: registry.Digest{n}, Label: "for n", Uses: uses, Unlimited: uses == 0,
		Created: start.Add(time.Duration(n) * time.Millisecond), Expires: start.Add(time.Hour),
	}
}

// putInvite keeps the nth invite.
func putInvite(t *testing.T, db *database.Database, n byte, uses int) peers.Invite {
	t.Helper()
	kept, err := db.Invites.PutInvite(t.Context(), invite(n, uses), event(audit.KindInviteCreated))
	must(t, "put an invite", err)
	return kept
}

// revokeInvite revokes the nth invite.
func revokeInvite(t *testing.T, db *database.Database, n byte) error {
	return db.Invites.RevokeInvite(t.Context(), peers.InviteID{n}, event(audit.KindInviteRevoked))
}

// newPeerNeedsAnInvite checks that a closed server admits a new peer only with a valid invite.
func newPeerNeedsAnInvite(t *testing.T, db *database.Database) {
	ctx := t.Context()
	putInvite(t, db, 1, 2)
	putInvite(t, db, 2, 0)
	putInvite(t, db, 3, 5)
	must(t, "revoke", revokeInvite(t, db, 3))
	equal(t, "a revoked invite put again", putInvite(t, db, 3, 5).Revoked, true)

	next := 0
	try := func(hash *registry.Digest, now time.Time) error {
		next++
		a := admission(next, next)
		a.Open, a.Invite, a.Now = false, hash, now
		_, err := db.Admissions.Admit(ctx, a)
		return err
	}
	is(t, "without an invite", try(nil, start), peers.ErrInviteNeeded)
	is(t, "unknown", try(&registry.Digest{9}, start), peers.ErrInvite)
	is(t, "revoked", try(&registry.Digest{3}, start), peers.ErrInvite)
	is(t, "expired", try(&registry.Digest{2}, start.Add(time.Hour)), peers.ErrInvite)
	for range 4 {
		is(t, "unlimited", try(&registry.Digest{2}, start), nil)
	}
	is(t, "first use", try(&registry.Digest{1}, start), nil)
	is(t, "second use", try(&registry.Digest{1}, start.Add(time.Hour-time.Millisecond)), nil)
	is(t, "third use", try(&registry.Digest{1}, start), peers.ErrInvite)
}

// concurrentPeersUseUpAnInvite checks that concurrent registrations cannot use an invite more often than
// it allows.
func concurrentPeersUseUpAnInvite(t *testing.T, db *database.Database) {
	ctx := t.Context()
	putInvite(t, db, 1, 1)
	ok, failed := race(20, func(i int) error {
		a := admission(i, i)
		a.Open, a.Invite = false, &registry.Digest{1}
		_, err := db.Admissions.Admit(ctx, a)
		return err
	})
	equal(t, "peers admitted", ok, 1)
	for _, err := range failed {
		is(t, "a concurrent request", err, peers.ErrInvite)
	}

	// Concurrent requests of one peer, as after a lost answer, are one use.
	putInvite(t, db, 2, 1)
	ok, failed = race(10, func(i int) error {
		a := admission(500, 500+i)
		a.Open, a.Invite = false, &registry.Digest{2}
		_, err := db.Admissions.Admit(ctx, a)
		return err
	})
	if ok != 10 {
		t.Errorf("the same peer: %d of 10 admitted: %v", ok, failed)
	}

	// A store may execute concurrent registrations in one transaction.
	putInvite(t, db, 3, 5)
	ok, failed = race(60, func(i int) error {
		a := admission(1000+i, 1000+i)
		a.Open, a.Invite = false, &registry.Digest{3}
		_, err := db.Admissions.Admit(ctx, a)
		return err
	})
	equal(t, "peers admitted with an invite for five", ok, 5)
	for _, err := range failed {
		is(t, "beyond the five", err, peers.ErrInvite)
	}
	invites, err := db.Invites.Invites(ctx, registry.Page{Limit: 10})
	must(t, "invites", err)
	for _, i := range invites {
		if i.Hash == (registry.Digest{3}) && (i.Used != 5 || i.Uses != 0) {
			t.Errorf("the invite for five: %+v", i)
		}
	}
}

// invitesAreListedAndRevoked checks that an invite is kept unchanged, listed in pages, and revoked once.
func invitesAreListedAndRevoked(t *testing.T, db *database.Database) {
	ctx := t.Context()
	for _, n := range []byte{2, 1, 3} {
		equal(t, "kept", putInvite(t, db, n, int(n)), invite(n, int(n)))
	}
	equal(t, "put again with more uses", putInvite(t, db, 1, 100), invite(1, 1))
	a := admission(1, 1)
	a.Open, a.Invite = false, &registry.Digest{2}
	_, err := db.Admissions.Admit(ctx, a)
	must(t, "use", err)
	is(t, "revoke", revokeInvite(t, db, 2), nil)
	is(t, "revoke again", revokeInvite(t, db, 2), nil)
	is(t, "revoke an unknown one", revokeInvite(t, db, 9), peers.ErrInviteNotFound)

	second := invite(2, 1)
	second.Used, second.Revoked = 1, true
	got, err := db.Invites.Invite(ctx, peers.InviteID{2})
	must(t, "read", err)
	equal(t, "used and revoked", got, second)
	equal(t, "its limit", got.Limit(), 2)
	_, err = db.Invites.Invite(ctx, peers.InviteID{9})
	is(t, "read an unknown one", err, peers.ErrInviteNotFound)

	page, err := db.Invites.Invites(ctx, registry.Page{Limit: 2})
	must(t, "first page", err)
	if want := []peers.Invite{invite(1, 1), second}; !slices.Equal(page, want) {
		t.Errorf("got %+v, want %+v", page, want)
	}
	page, err = db.Invites.Invites(ctx, registry.Page{After: page[1].Place(), Limit: 2})
	must(t, "second page", err)
	if want := []peers.Invite{invite(3, 3)}; !slices.Equal(page, want) {
		t.Errorf("got %+v, want %+v", page, want)
	}
	want := map[audit.Kind]int{audit.KindInviteCreated: 3, audit.KindInviteRevoked: 1, audit.KindRegistered: 1}
	for _, kind := range events(t, db) {
		want[kind]--
	}
	for kind, missing := range want {
		equal(t, "missing events: "+string(kind), missing, 0)
	}
}
