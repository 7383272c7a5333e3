package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// revoke revokes the nth peer.
func revoke(t *testing.T, db *database.Database, n int, version int64) error {
	t.Helper()
	e := event(audit.KindPeerRevoked)
	e.Peer = id(n)
	r := peers.Revocation{Peer: id(n), Name: "last name", At: start}
	return db.Revocations.RevokePeer(t.Context(), r, version, e)
}

// revokedPeerIsRemoved checks that a revocation removes everything that belongs to the peer, and
// that the peer can register only after it was readmitted.
func revokedPeerIsRemoved(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	admit(t, db, 2)
	for _, a := range []peers.Allowance{allowance(id(1), id(2)), allowance(id(2), id(1)), allowance(id(2), id(3))} {
		_, err := db.AllowList.Allow(ctx, a, 10)
		must(t, "allow", err)
	}
	must(t, "mailbox", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	_, err := db.Mailboxes.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	a := take(t, db, "a", start)
	must(t, "presence", putPresence(t, db, a, start, at(start, 1, 2)))

	is(t, "an unknown peer", revoke(t, db, 9, 0), peers.ErrNotFound)
	is(t, "at another version", revoke(t, db, 1, 7), peers.ErrChanged)
	_, err = db.Peers.Peer(ctx, id(1))
	is(t, "the peer after that", err, nil)
	is(t, "revoke", revoke(t, db, 1, 1), nil)
	is(t, "revoke again", revoke(t, db, 1, 0), peers.ErrNotFound)

	_, err = db.Peers.Peer(ctx, id(1))
	is(t, "the peer", err, peers.ErrNotFound)
	_, err = db.Peers.PeerByToken(ctx, admission(1, 1_000_001).Peer.TokenPrefix)
	is(t, "its token", err, peers.ErrNotFound)
	_, err = db.Mailboxes.Mailbox(ctx, box)
	is(t, "its mailbox", err, mailboxes.ErrNotFound)
	equal(t, "its presence", locate(t, db, 1, start), "")
	equal(t, "another's presence", locate(t, db, 2, start), "a")
	for pair, want := range map[[2]int]bool{{1, 2}: false, {2, 1}: false, {2, 3}: true} {
		_, ok, err := db.AllowList.Allowed(ctx, permission(id(pair[0]), id(pair[1])))
		must(t, "allowed", err)
		equal(t, fmt.Sprint("permission ", pair), ok, want)
	}
	putInvite(t, db, 1, 1)
	again := admission(1, 77)
	again.Open, again.Invite = false, &registry.Digest{1}
	_, err = db.Admissions.Admit(ctx, again)
	is(t, "registering again", err, peers.ErrRevoked)
	got, err := db.Revocations.Revoked(ctx, id(1))
	must(t, "revoked", err)
	equal(t, "revoked", got, true)

	e := event(audit.KindPeerReadmitted)
	is(t, "readmit another", db.Revocations.Readmit(ctx, id(2), e), peers.ErrNotFound)
	is(t, "readmit", db.Revocations.Readmit(ctx, id(1), e), nil)
	is(t, "readmit again", db.Revocations.Readmit(ctx, id(1), e), peers.ErrNotFound)
	admitted, err := db.Admissions.Admit(ctx, again)
	must(t, "the same registration after that", err)
	equal(t, "new", admitted.Created, true)
	got, err = db.Revocations.Revoked(ctx, id(1))
	must(t, "revoked", err)
	equal(t, "revoked", got, false)
}

// revokedPeerIsRefused checks that a revoked peer learns that it is revoked, whether it has an
// invite or not.
func revokedPeerIsRefused(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	must(t, "revoke", revoke(t, db, 1, 0))
	a := admission(1, 7)
	_, err := db.Admissions.Admit(ctx, a)
	is(t, "at an open server", err, peers.ErrRevoked)
	a.Open = false
	_, err = db.Admissions.Admit(ctx, a)
	is(t, "without an invite", err, peers.ErrRevoked)
	a.Invite = &registry.Digest{9}
	_, err = db.Admissions.Admit(ctx, a)
	is(t, "with an unknown invite", err, peers.ErrRevoked)
}

// removedPeerCanRegisterAgain checks that a peer that leaves is removed completely, and that it can
// register again as a new peer.
func removedPeerCanRegisterAgain(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	admit(t, db, 2)
	for _, a := range []peers.Allowance{allowance(id(1), id(2)), allowance(id(2), id(1))} {
		_, err := db.AllowList.Allow(ctx, a, 10)
		must(t, "allow", err)
	}
	must(t, "mailbox", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	e := event(audit.KindPeerLeft)
	e.Peer = id(1)
	is(t, "an unknown peer", db.Revocations.RemovePeer(ctx, id(9), e), peers.ErrNotFound)
	is(t, "remove", db.Revocations.RemovePeer(ctx, id(1), e), nil)
	is(t, "remove again", db.Revocations.RemovePeer(ctx, id(1), e), peers.ErrNotFound)

	_, err := db.Peers.PeerByToken(ctx, admission(1, 1_000_001).Peer.TokenPrefix)
	is(t, "its token", err, peers.ErrNotFound)
	_, err = db.Mailboxes.Mailbox(ctx, box)
	is(t, "its mailbox", err, mailboxes.ErrNotFound)
	for _, pair := range [][2]int{{1, 2}, {2, 1}} {
		_, ok, err := db.AllowList.Allowed(ctx, permission(id(pair[0]), id(pair[1])))
		must(t, "allowed", err)
		equal(t, fmt.Sprint("permission ", pair), ok, false)
	}
	left, err := db.Audit.Events(ctx, audit.Query{Kind: audit.KindPeerLeft, Limit: 10})
	must(t, "events", err)
	equal(t, "events", len(left), 1)
	admitted, err := db.Admissions.Admit(ctx, admission(1, 77))
	must(t, "register again", err)
	equal(t, "new", admitted.Created, true)
}

// pollMissesNoRevocation checks that a reader that polls by number misses no revocation while others
// are committed.
func pollMissesNoRevocation(t *testing.T, db *database.Database) {
	ctx := t.Context()
	for n := range 12 {
		admit(t, db, n)
	}
	// A poll during the commits must miss no revocation, in whatever order they are
	// committed.
	var seen []peers.Revocation
	look := func() {
		t.Helper()
		since := int64(0)
		if len(seen) > 0 {
			since = seen[len(seen)-1].Number
		}
		news, err := db.Revocations.Revocations(ctx, since, 5)
		must(t, "poll", err)
		seen = append(seen, news...)
	}
	done := make(chan int)
	go func() {
		ok, _ := race(12, func(n int) error { return revoke(t, db, n, 0) })
		done <- ok
	}()
	for ended := false; !ended; look() {
		select {
		case ok := <-done:
			equal(t, "revoked", ok, 12)
			ended = true
		default:
		}
	}
	for range 3 {
		look()
	}
	peers := map[ident.PeerID]bool{}
	for i, r := range seen {
		peers[r.Peer] = true
		if i > 0 && r.Number <= seen[i-1].Number || r.Name != "last name" || !r.At.Equal(start) {
			t.Errorf("revocation %d: %+v", i, r)
		}
	}
	equal(t, "revocations read", len(peers), 12)

	must(t, "readmit", db.Revocations.Readmit(ctx, id(3), event(audit.KindPeerReadmitted)))
	admit := admission(3, 333)
	admit.Now = start.Add(time.Hour)
	_, err := db.Admissions.Admit(ctx, admit)
	must(t, "admit", err)
	must(t, "revoke again", revoke(t, db, 3, 0))
	last := seen[len(seen)-1].Number
	news, err := db.Revocations.Revocations(ctx, last, 10)
	must(t, "poll", err)
	if len(news) != 1 || news[0].Peer != id(3) {
		t.Errorf("after %d: %+v", last, news)
	}
}
