package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const ttl = 5 * time.Second

func take(t *testing.T, s *database.Database, name string, now time.Time) presence.Holder {
	t.Helper()
	epoch, err := s.Leases.TakeLease(t.Context(), presence.Instance{Name: name, Address: name + ":1", Region: "in " + name, Version: "v of " + name, Relay: name + ":1-2"}, now, ttl)
	must(t, "take the lease of "+name, err)
	return presence.Holder{Instance: name, Epoch: epoch}
}

func at(since time.Time, peers ...int) []presence.Connection {
	var all []presence.Connection
	for _, p := range peers {
		all = append(all, presence.Connection{Peer: id(p), Since: since})
	}
	return all
}

// putPresence writes presence, for tests that do not look at what it replaced.
func putPresence(t *testing.T, s *database.Database, h presence.Holder, now time.Time, peers []presence.Connection) error {
	_, err := s.Presence.PutPresence(t.Context(), h, now, peers)
	return err
}

func locate(t *testing.T, s *database.Database, peer int, now time.Time) string {
	t.Helper()
	found, err := s.Presence.LocatePeers(t.Context(), []ident.PeerID{id(peer)}, now)
	must(t, "locate", err)
	return found[id(peer)].Instance
}

func leaseIsFenced(t *testing.T, s *database.Database) {
	ctx := t.Context()
	a := take(t, s, "a", start)
	b := take(t, s, "b", start)
	if b.Epoch <= a.Epoch {
		t.Errorf("epochs %d, then %d", a.Epoch, b.Epoch)
	}
	got, err := s.Leases.Instances(ctx, start)
	must(t, "instances", err)
	want := []presence.Instance{
		{Name: "a", Epoch: a.Epoch, Address: "a:1", Region: "in a", Version: "v of a", Relay: "a:1-2", Until: start.Add(ttl)},
		{Name: "b", Epoch: b.Epoch, Address: "b:1", Region: "in b", Version: "v of b", Relay: "b:1-2", Until: start.Add(ttl)},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	is(t, "renew", s.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl), nil)
	is(t, "renew with a wrong epoch", s.Leases.RenewLease(ctx, presence.Holder{Instance: "a", Epoch: b.Epoch}, start, ttl), presence.ErrFenced)
	is(t, "renew a lapsed one", s.Leases.RenewLease(ctx, b, start.Add(ttl), ttl), presence.ErrFenced)
	got, err = s.Leases.Instances(ctx, start.Add(ttl))
	must(t, "instances", err)
	if len(got) != 1 || got[0].Name != "a" {
		t.Errorf("after b lapsed: %+v", got)
	}

	again := take(t, s, "a", start.Add(time.Second))
	if again.Epoch <= b.Epoch {
		t.Errorf("epoch %d after %d", again.Epoch, b.Epoch)
	}
	is(t, "renew after another took it", s.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl), presence.ErrFenced)
	is(t, "release by the one before", s.Leases.ReleaseLease(ctx, a), nil)
	is(t, "renew by the holder", s.Leases.RenewLease(ctx, again, start.Add(time.Second), ttl), nil)
	is(t, "release", s.Leases.ReleaseLease(ctx, again), nil)
	is(t, "release again", s.Leases.ReleaseLease(ctx, again), nil)
	is(t, "renew a released one", s.Leases.RenewLease(ctx, again, start.Add(time.Second), ttl), presence.ErrFenced)
	if third := take(t, s, "a", start); third.Epoch <= again.Epoch {
		t.Errorf("epoch %d after %d was released", third.Epoch, again.Epoch)
	}
}

func presenceFollowsLease(t *testing.T, s *database.Database) {
	ctx := t.Context()
	a := take(t, s, "a", start)
	must(t, "put", putPresence(t, s, a, start, at(start, 1, 2)))
	found, err := s.Presence.LocatePeers(ctx, []ident.PeerID{id(1), id(2), id(3)}, start)
	must(t, "locate", err)
	want := presence.Location{Instance: "a", Epoch: a.Epoch, Since: start}
	if len(found) != 2 || found[id(1)] != want || found[id(2)] != want {
		t.Errorf("got %+v", found)
	}
	equal(t, "after the lease lapsed", locate(t, s, 1, start.Add(ttl)), "")
	must(t, "renew", s.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl))
	equal(t, "after it was renewed", locate(t, s, 1, start.Add(ttl)), "a")

	counts, err := s.Presence.CountPresence(ctx)
	must(t, "count", err)
	if len(counts) != 1 || counts[a.Epoch] != 2 {
		t.Errorf("counted %v", counts)
	}
	must(t, "remove", s.Presence.RemovePresence(ctx, a, start, at(start, 1)))
	equal(t, "after it left", locate(t, s, 1, start), "")
	equal(t, "the other", locate(t, s, 2, start), "a")

	// The process is restarted: what the one before wrote does not count.
	b := take(t, s, "a", start)
	equal(t, "under the lease before", locate(t, s, 2, start), "")
	must(t, "put", putPresence(t, s, b, start, at(start.Add(-time.Hour), 2)))
	equal(t, "written anew", locate(t, s, 2, start), "a")
	must(t, "release", s.Leases.ReleaseLease(ctx, b))
	equal(t, "after a release", locate(t, s, 2, start), "")
}

func lastSeenIsKept(t *testing.T, s *database.Database) {
	ctx := t.Context()
	seen := func(peer int) time.Time {
		t.Helper()
		all, err := s.Presence.LastSeen(ctx, []ident.PeerID{id(peer), id(9)})
		must(t, "last seen", err)
		return all[id(peer)]
	}
	a, b := take(t, s, "a", start), take(t, s, "b", start)
	for n := range 3 {
		admit(t, s, n)
	}
	must(t, "put", putPresence(t, s, a, start, at(start, 0, 1, 2)))
	equal(t, "while it is connected", seen(1), time.Time{})
	must(t, "moves to b", putPresence(t, s, b, start, at(start.Add(time.Second), 2)))
	gone := start.Add(2 * time.Second)
	must(t, "remove", s.Presence.RemovePresence(ctx, a, gone, at(start, 0, 1, 2)))
	equal(t, "after it left", seen(1), gone)
	equal(t, "after it moved", seen(2), time.Time{})
	must(t, "come back", putPresence(t, s, a, gone, at(gone, 1)))
	must(t, "leave again", s.Presence.RemovePresence(ctx, a, gone.Add(time.Second), at(gone, 1)))
	equal(t, "after it left again", seen(1), gone.Add(time.Second))
	must(t, "revoke", revoke(t, s, 0, 0))
	equal(t, "after it was revoked", seen(0), time.Time{})
	if _, err := s.Presence.LastSeen(ctx, make([]ident.PeerID, registry.MaxBatch+1)); err == nil {
		t.Error("a question beyond the bound was taken")
	}
}

func newestConnectionWins(t *testing.T, s *database.Database) {
	ctx := t.Context()
	a, b := take(t, s, "a", start), take(t, s, "b", start)
	must(t, "at a", putPresence(t, s, a, start, at(start, 1)))
	must(t, "moves to b", putPresence(t, s, b, start, at(start.Add(time.Second), 1)))
	equal(t, "after the move", locate(t, s, 1, start), "b")
	must(t, "a writes late", putPresence(t, s, a, start, at(start, 1)))
	equal(t, "after the late write", locate(t, s, 1, start), "b")
	must(t, "a removes late", s.Presence.RemovePresence(ctx, a, start, at(start, 1)))
	equal(t, "after the late removal", locate(t, s, 1, start), "b")

	must(t, "comes back to b", putPresence(t, s, b, start, at(start.Add(3*time.Second), 1)))
	must(t, "b removes the older connection", s.Presence.RemovePresence(ctx, b, start, at(start.Add(time.Second), 1)))
	equal(t, "after the older one ended", locate(t, s, 1, start), "b")

	now := start.Add(ttl) // b lapses, a does not
	must(t, "renew", s.Leases.RenewLease(ctx, a, start.Add(time.Second), ttl))
	must(t, "an older connection at a live instance", putPresence(t, s, a, now, at(start, 1)))
	equal(t, "after b lapsed", locate(t, s, 1, now), "a")
}

// replacedAreTold: who writes a newer connection learns at which live
// instance the older one is.
func replacedAreTold(t *testing.T, s *database.Database) {
	ctx := t.Context()
	a, b, c := take(t, s, "a", start), take(t, s, "b", start), take(t, s, "c", start)
	check := func(what string, h presence.Holder, now time.Time, peers []presence.Connection, want ...presence.Replaced) {
		t.Helper()
		got, err := s.Presence.PutPresence(ctx, h, now, peers)
		must(t, what, err)
		slices.SortFunc(got, func(x, y presence.Replaced) int { return x.Peer.Compare(y.Peer) })
		slices.SortFunc(want, func(x, y presence.Replaced) int { return x.Peer.Compare(y.Peer) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: replaced %+v, want %+v", what, got, want)
		}
	}
	was := func(instance string, since time.Time, peer int) presence.Replaced {
		return presence.Replaced{Connection: presence.Connection{Peer: id(peer), Since: since}, Instance: instance}
	}
	later := start.Add(time.Second)
	check("new ones", a, start, at(start, 1, 2))
	check("the same again", a, start, at(start, 1, 2))
	check("anew at the same instance", a, start, at(later, 2))
	check("an older one elsewhere", b, start, at(start, 2))
	check("one newer and one new", b, start, at(later, 1, 3), was("a", later, 1))
	later = later.Add(time.Second)
	check("of two instances", c, start, at(later, 1, 2, 3), was("b", later, 1), was("a", later, 2), was("b", later, 3))
	must(t, "release", s.Leases.ReleaseLease(ctx, c))
	check("of one that has no lease", a, start, at(later.Add(time.Second), 1))
}

func presenceInBatches(t *testing.T, s *database.Database) {
	ctx := t.Context()
	a := take(t, s, "a", start)
	var peers []presence.Connection
	var ids []ident.PeerID
	for i := range registry.MaxBatch {
		p := ident.PeerID{byte(i), byte(i >> 8), 7}
		peers, ids = append(peers, presence.Connection{Peer: p, Since: start}), append(ids, p)
	}
	// A peer twice in a batch: the newest counts.
	peers[1] = presence.Connection{Peer: peers[0].Peer, Since: start.Add(time.Second)}
	must(t, "put", putPresence(t, s, a, start, peers))
	must(t, "put the same", putPresence(t, s, a, start, peers))
	found, err := s.Presence.LocatePeers(ctx, ids, start)
	must(t, "locate", err)
	equal(t, "found", len(found), registry.MaxBatch-1)
	equal(t, "the newest", found[ids[0]].Since, start.Add(time.Second))
	must(t, "remove", s.Presence.RemovePresence(ctx, a, start, peers))
	found, err = s.Presence.LocatePeers(ctx, ids, start)
	must(t, "locate", err)
	equal(t, "left", len(found), 0)

	must(t, "an empty batch", putPresence(t, s, a, start, nil))
	if err := putPresence(t, s, a, start, append(peers, peers[0])); err == nil {
		t.Error("a batch beyond the bound was taken")
	}
	if _, err := s.Presence.LocatePeers(ctx, append(ids, ids[0]), start); err == nil {
		t.Error("a question beyond the bound was taken")
	}

	// Two instances that write the same peers in opposite order must not lock
	// each other out.
	b := take(t, s, "b", start)
	reversed := slices.Clone(peers)
	slices.Reverse(reversed)
	if ok, failed := race(8, func(i int) error {
		if i%2 == 0 {
			return putPresence(t, s, a, start, peers)
		}
		return putPresence(t, s, b, start, reversed)
	}); ok != 8 {
		t.Errorf("raced: %v", failed)
	}
}

func staleHolderWritesNothing(t *testing.T, s *database.Database) {
	ctx := t.Context()
	paused := take(t, s, "a", start)
	must(t, "put", putPresence(t, s, paused, start, at(start, 1)))
	late := start.Add(ttl)
	is(t, "write after it lapsed", putPresence(t, s, paused, late, at(late, 2)), presence.ErrFenced)
	is(t, "remove after it lapsed", s.Presence.RemovePresence(ctx, paused, late, at(late, 1)), presence.ErrFenced)
	is(t, "an empty write after it lapsed", putPresence(t, s, paused, late, nil), presence.ErrFenced)
	if _, err := s.Leases.Clock(ctx); err != nil {
		t.Errorf("the clock: %v", err)
	}
	now := take(t, s, "a", start)
	is(t, "write after it was replaced", putPresence(t, s, paused, start, at(start, 2)), presence.ErrFenced)
	is(t, "write as nobody", putPresence(t, s, presence.Holder{Instance: "z", Epoch: now.Epoch}, start, at(start, 2)), presence.ErrFenced)
	for _, when := range []time.Time{start, late} {
		equal(t, "peer 2", locate(t, s, 2, when), "")
	}
}

func sweepRemovesWhatIsOver(t *testing.T, s *database.Database) {
	ctx := t.Context()
	_, err := s.Admissions.Admit(ctx, admission(1, 1))
	must(t, "admit", err)
	must(t, "mailbox", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	_, err = s.Mailboxes.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	putInvite(t, s, 1, 0)
	a := take(t, s, "a", start)
	must(t, "presence", putPresence(t, s, a, start, at(start, 1)))

	must(t, "sweep early", s.Sweep(ctx, start))
	_, err = s.Admissions.Admit(ctx, admission(1, 1))
	is(t, "the challenge while it is good", err, peers.ErrReplayed)
	_, err = s.Mailboxes.Mailbox(ctx, box)
	is(t, "the mailbox", err, nil)
	equal(t, "presence", locate(t, s, 1, start), "a")

	must(t, "sweep", s.Sweep(ctx, start.Add(time.Minute)))
	_, err = s.Mailboxes.Mailbox(ctx, box)
	is(t, "the mailbox that just expired", err, nil)
	equal(t, "the lease that just lapsed, by another's clock", locate(t, s, 1, start), "a")

	must(t, "sweep much later", s.Sweep(ctx, start.Add(30*24*time.Hour)))
	_, err = s.Mailboxes.Mailbox(ctx, box)
	is(t, "the mailbox at last", err, mailboxes.ErrNotFound)
	tries, err := s.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	equal(t, "tries", len(tries), 0)
	invites, err := s.Invites.Invites(ctx, registry.Page{Limit: 10})
	must(t, "invites", err)
	equal(t, "invites", len(invites), 0)
	is(t, "the lease", s.Leases.RenewLease(ctx, a, start, ttl), presence.ErrFenced)
	_, err = s.Admissions.Admit(ctx, admission(1, 1))
	is(t, "the challenge's memory", err, nil)
	_, err = s.Peers.Peer(ctx, id(1))
	is(t, "the peer stays", err, nil)
}
