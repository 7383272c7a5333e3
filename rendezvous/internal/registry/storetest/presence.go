package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// at returns connections of peers since a time.
func at(since time.Time, peers ...int) []presence.Connection {
	var all []presence.Connection
	for _, p := range peers {
		all = append(all, presence.Connection{Peer: id(p), Since: since})
	}
	return all
}

// putPresence records connections and ignores those that they replace.
func putPresence(t *testing.T, db *database.Database, h presence.Holder, now time.Time,
	peers []presence.Connection,
) error {
	_, err := db.Presence.PutPresence(t.Context(), h, now, peers)
	return err
}

// locate returns the instance that a peer is connected to, "" if none.
func locate(t *testing.T, db *database.Database, peer int, now time.Time) string {
	t.Helper()
	found, err := db.Presence.LocatePeers(t.Context(), []ident.PeerID{id(peer)}, now)
	must(t, "locate", err)
	return found[id(peer)].Instance
}

// presenceEndsWithItsLease checks that connections count only while the lease is held under which they
// were written.
func presenceEndsWithItsLease(t *testing.T, db *database.Database) {
	ctx := t.Context()
	a := take(t, db, "a", start)
	must(t, "put", putPresence(t, db, a, start, at(start, 1, 2)))
	found, err := db.Presence.LocatePeers(ctx, []ident.PeerID{id(1), id(2), id(3)}, start)
	must(t, "locate", err)
	want := presence.Location{Instance: "a", Epoch: a.Epoch, Since: start}
	if len(found) != 2 || found[id(1)] != want || found[id(2)] != want {
		t.Errorf("got %+v", found)
	}
	equal(t, "after the lease lapsed", locate(t, db, 1, start.Add(ttl)), "")
	must(t, "renew", db.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl))
	equal(t, "after it was renewed", locate(t, db, 1, start.Add(ttl)), "a")

	counts, err := db.Presence.CountPresence(ctx)
	must(t, "count", err)
	if len(counts) != 1 || counts[a.Epoch] != 2 {
		t.Errorf("counted %v", counts)
	}
	must(t, "remove", db.Presence.RemovePresence(ctx, a, start, at(start, 1)))
	equal(t, "after it left", locate(t, db, 1, start), "")
	equal(t, "the other", locate(t, db, 2, start), "a")

	// The process restarts: the rows of its previous lease no longer count.
	b := take(t, db, "a", start)
	equal(t, "under the previous lease", locate(t, db, 2, start), "")
	must(t, "put", putPresence(t, db, b, start, at(start.Add(-time.Hour), 2)))
	equal(t, "after it was written again", locate(t, db, 2, start), "a")
	must(t, "release", db.Leases.ReleaseLease(ctx, b))
	equal(t, "after a release", locate(t, db, 2, start), "")
}

// lastSeenIsKept checks that the end of the last connection of a peer is kept.
func lastSeenIsKept(t *testing.T, db *database.Database) {
	ctx := t.Context()
	seen := func(peer int) time.Time {
		t.Helper()
		all, err := db.Presence.LastSeen(ctx, []ident.PeerID{id(peer), id(9)})
		must(t, "last seen", err)
		return all[id(peer)]
	}
	a, b := take(t, db, "a", start), take(t, db, "b", start)
	for n := range 3 {
		admit(t, db, n)
	}
	must(t, "put", putPresence(t, db, a, start, at(start, 0, 1, 2)))
	equal(t, "while it is connected", seen(1), time.Time{})
	must(t, "moves to b", putPresence(t, db, b, start, at(start.Add(time.Second), 2)))
	gone := start.Add(2 * time.Second)
	must(t, "remove", db.Presence.RemovePresence(ctx, a, gone, at(start, 0, 1, 2)))
	equal(t, "after it left", seen(1), gone)
	equal(t, "after it moved", seen(2), time.Time{})
	must(t, "come back", putPresence(t, db, a, gone, at(gone, 1)))
	must(t, "leave again", db.Presence.RemovePresence(ctx, a, gone.Add(time.Second), at(gone, 1)))
	equal(t, "after it left again", seen(1), gone.Add(time.Second))
	must(t, "revoke", revoke(t, db, 0, 0))
	equal(t, "after it was revoked", seen(0), time.Time{})
	if _, err := db.Presence.LastSeen(ctx, make([]ident.PeerID, registry.MaxBatch+1)); err == nil {
		t.Error("a query beyond the bound was accepted")
	}
}

// newestConnectionWins checks that late writes and removals of an older connection do not affect a
// newer one.
func newestConnectionWins(t *testing.T, db *database.Database) {
	ctx := t.Context()
	a, b := take(t, db, "a", start), take(t, db, "b", start)
	must(t, "at a", putPresence(t, db, a, start, at(start, 1)))
	must(t, "moves to b", putPresence(t, db, b, start, at(start.Add(time.Second), 1)))
	equal(t, "after the move", locate(t, db, 1, start), "b")
	must(t, "a late write of a", putPresence(t, db, a, start, at(start, 1)))
	equal(t, "after the late write", locate(t, db, 1, start), "b")
	must(t, "a late removal by a", db.Presence.RemovePresence(ctx, a, start, at(start, 1)))
	equal(t, "after the late removal", locate(t, db, 1, start), "b")

	must(t, "comes back to b", putPresence(t, db, b, start, at(start.Add(3*time.Second), 1)))
	must(t, "b removes the older connection", db.Presence.RemovePresence(ctx, b, start, at(start.Add(time.Second), 1)))
	equal(t, "after the older one ended", locate(t, db, 1, start), "b")

	now := start.Add(ttl) // the lease of b lapses, that of a does not
	must(t, "renew", db.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl))
	must(t, "an older connection at a live instance", putPresence(t, db, a, now, at(start, 1)))
	equal(t, "after b lapsed", locate(t, db, 1, now), "a")
}

// replacedConnectionsAreReturned checks that the writer of a newer connection learns which live instance has
// the older one.
func replacedConnectionsAreReturned(t *testing.T, db *database.Database) {
	ctx := t.Context()
	a, b, c := take(t, db, "a", start), take(t, db, "b", start), take(t, db, "c", start)
	check := func(what string, h presence.Holder, now time.Time, peers []presence.Connection,
		want ...presence.Replacement,
	) {
		t.Helper()
		got, err := db.Presence.PutPresence(ctx, h, now, peers)
		must(t, what, err)
		slices.SortFunc(got, func(x, y presence.Replacement) int { return x.Peer.Compare(y.Peer) })
		slices.SortFunc(want, func(x, y presence.Replacement) int { return x.Peer.Compare(y.Peer) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: replaced %+v, want %+v", what, got, want)
		}
	}
	was := func(instance string, since time.Time, peer int) presence.Replacement {
		return presence.Replacement{Connection: presence.Connection{Peer: id(peer), Since: since}, Instance: instance}
	}
	later := start.Add(time.Second)
	check("new connections", a, start, at(start, 1, 2))
	check("the same again", a, start, at(start, 1, 2))
	check("a newer connection to the same instance", a, start, at(later, 2))
	check("an older connection to another instance", b, start, at(start, 2))
	check("one newer and one new connection", b, start, at(later, 1, 3), was("a", later, 1))
	later = later.Add(time.Second)
	check("newer than those of two instances", c, start, at(later, 1, 2, 3),
		was("b", later, 1), was("a", later, 2), was("b", later, 3))
	must(t, "release", db.Leases.ReleaseLease(ctx, c))
	check("newer than that of an instance without a lease", a, start, at(later.Add(time.Second), 1))
}

// presenceIsWrittenInBatches checks batches up to their bound, with repeated peers, and in opposite order
// from two instances.
func presenceIsWrittenInBatches(t *testing.T, db *database.Database) {
	ctx := t.Context()
	a := take(t, db, "a", start)
	var peers []presence.Connection
	var ids []ident.PeerID
	for i := range registry.MaxBatch {
		p := ident.PeerID{byte(i), byte(i >> 8), 7}
		peers, ids = append(peers, presence.Connection{Peer: p, Since: start}), append(ids, p)
	}
	// The batch has two connections of one peer: the newest counts.
	peers[1] = presence.Connection{Peer: peers[0].Peer, Since: start.Add(time.Second)}
	must(t, "put", putPresence(t, db, a, start, peers))
	must(t, "put the same", putPresence(t, db, a, start, peers))
	found, err := db.Presence.LocatePeers(ctx, ids, start)
	must(t, "locate", err)
	equal(t, "found", len(found), registry.MaxBatch-1)
	equal(t, "the newest", found[ids[0]].Since, start.Add(time.Second))
	must(t, "remove", db.Presence.RemovePresence(ctx, a, start, peers))
	found, err = db.Presence.LocatePeers(ctx, ids, start)
	must(t, "locate", err)
	equal(t, "remaining", len(found), 0)

	must(t, "an empty batch", putPresence(t, db, a, start, nil))
	if err := putPresence(t, db, a, start, append(peers, peers[0])); err == nil {
		t.Error("a batch beyond the bound was accepted")
	}
	if _, err := db.Presence.LocatePeers(ctx, append(ids, ids[0]), start); err == nil {
		t.Error("a query beyond the bound was accepted")
	}

	// Two instances that write the same peers in opposite order must not deadlock.
	b := take(t, db, "b", start)
	reversed := slices.Clone(peers)
	slices.Reverse(reversed)
	if ok, failed := race(8, func(i int) error {
		if i%2 == 0 {
			return putPresence(t, db, a, start, peers)
		}
		return putPresence(t, db, b, start, reversed)
	}); ok != 8 {
		t.Errorf("a concurrent request: %v", failed)
	}
}

// staleHolderWritesNothing checks that a holder whose lease has lapsed or was taken cannot write.
func staleHolderWritesNothing(t *testing.T, db *database.Database) {
	ctx := t.Context()
	paused := take(t, db, "a", start)
	must(t, "put", putPresence(t, db, paused, start, at(start, 1)))
	late := start.Add(ttl)
	is(t, "write after it lapsed", putPresence(t, db, paused, late, at(late, 2)), presence.ErrFenced)
	is(t, "remove after it lapsed", db.Presence.RemovePresence(ctx, paused, late, at(late, 1)), presence.ErrFenced)
	is(t, "an empty write after it lapsed", putPresence(t, db, paused, late, nil), presence.ErrFenced)
	if _, err := db.Leases.Clock(ctx); err != nil {
		t.Errorf("the clock: %v", err)
	}
	now := take(t, db, "a", start)
	is(t, "write after it was replaced", putPresence(t, db, paused, start, at(start, 2)), presence.ErrFenced)
	unknown := presence.Holder{Instance: "z", Epoch: now.Epoch}
	is(t, "write as an unknown instance", putPresence(t, db, unknown, start, at(start, 2)),
		presence.ErrFenced)
	for _, when := range []time.Time{start, late} {
		equal(t, "peer 2", locate(t, db, 2, when), "")
	}
}
