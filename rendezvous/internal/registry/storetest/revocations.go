package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

func named(t *testing.T, s *database.Database, n int) (name string, version int64) {
	t.Helper()
	p, err := s.Peers.Peer(t.Context(), id(n))
	must(t, "peer", err)
	return p.Name, p.Version
}

func namesAreVersioned(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	check := func(what, name string, version int64) {
		t.Helper()
		gotName, gotVersion := named(t, s, 1)
		equal(t, what+": name", gotName, name)
		equal(t, what+": version", gotVersion, version)
	}
	renew := func(challenge int, name string) string {
		t.Helper()
		a := admission(1, challenge)
		a.Peer.Name = name
		admitted, err := s.Admissions.Admit(ctx, a)
		must(t, "renew", err)
		return admitted.Name
	}
	first, _ := named(t, s, 1)
	check("admitted", first, 1)
	renew(11, first)
	check("renewed", first, 1)
	renew(12, "other")
	check("renewed with another name", "other", 2)
	is(t, "by the peer", s.Peers.Rename(ctx, peers.Naming{ID: id(1), Name: "own"}), nil)
	check("by the peer", "own", 3)
	is(t, "the same again", s.Peers.Rename(ctx, peers.Naming{ID: id(1), Name: "own"}), nil)
	check("the same again", "own", 3)

	e := event(audit.KindPeerRenamed)
	given := peers.Naming{ID: id(1), Name: "given", Version: 2, By: &e}
	is(t, "at another version", s.Peers.Rename(ctx, given), peers.ErrChanged)
	check("at another version", "own", 3)
	ok, failed := race(8, func(int) error {
		return s.Peers.Rename(ctx, peers.Naming{ID: id(1), Name: "given", Version: 3, By: &e})
	})
	equal(t, "raced", ok, 1)
	for _, err := range failed {
		is(t, "raced", err, peers.ErrChanged)
	}
	check("by an administrator", "given", 4)
	equal(t, "renewed after that", renew(13, "own"), "given")
	check("renewed after that", "given", 4)
	is(t, "by the peer again", s.Peers.Rename(ctx, peers.Naming{ID: id(1), Name: "own"}), nil)
	equal(t, "renewed at last", renew(14, "last"), "last")
	is(t, "nobody", s.Peers.Rename(ctx, peers.Naming{ID: id(9), Name: "x", By: &e}), peers.ErrNotFound)
	equal(t, "events", len(events(t, s)), 2) // registered and renamed
}

func peersAreListed(t *testing.T, s *database.Database) {
	ctx := t.Context()
	var ids []ident.PeerID
	for n := range 7 {
		a := admission(n, n)
		a.Peer.Name = fmt.Sprint("Machine ", n)
		if n%2 == 1 {
			a.Peer.Name = fmt.Sprintf("100%% KÜCHE_%d", n)
		}
		_, err := s.Admissions.Admit(ctx, a)
		must(t, "admit", err)
		ids = append(ids, id(n))
	}
	slices.SortFunc(ids, ident.PeerID.Compare)
	list := func(q peers.Query) []ident.PeerID {
		t.Helper()
		all, err := s.Peers.Peers(ctx, q)
		must(t, "list", err)
		var found []ident.PeerID
		for _, p := range all {
			found = append(found, p.ID)
		}
		return found
	}
	var paged []ident.PeerID
	for len(paged) < len(ids) {
		q := peers.Query{Limit: 3}
		if len(paged) > 0 {
			q.After = paged[len(paged)-1]
		}
		page := list(q)
		if len(page) == 0 || len(page) > 3 {
			t.Fatalf("a page of %d", len(page))
		}
		paged = append(paged, page...)
	}
	if !slices.Equal(paged, ids) {
		t.Errorf("paged %v, want %v", paged, ids)
	}
	for name, want := range map[string]int{"": 7, "machine": 4, "MACHINE 2": 1, "kÜc": 3, "küc": 0, "%": 3, "_": 3, "e_5": 1, "0% k": 3, "nobody": 0, "'": 0} {
		equal(t, "with "+name+" in its name", len(list(peers.Query{Limit: 100, Name: name})), want)
	}
	whole := id(3).String()
	for _, text := range []string{whole, strings.ToLower(whole), whole[:7], whole[:12], id(3).Short()[:5]} {
		if found := list(peers.Search(text, 100)); !slices.Equal(found, []ident.PeerID{id(3)}) {
			t.Errorf("a search for %q finds %v", text, found)
		}
	}
	equal(t, "found by a name that could be an ID", len(list(peers.Search("machine", 100))), 4)
	equal(t, "found without a text", len(list(peers.Search("", 100))), 7)
	equal(t, "found by the first letter or a name", len(list(peers.Search("Machine 4", 100))), 1)
	equal(t, "found by an ID that nobody has", len(list(peers.Search(id(99).String(), 100))), 0)
}

// revoke sends the nth peer away.
func revoke(t *testing.T, s *database.Database, n int, version int64) error {
	t.Helper()
	e := event(audit.KindPeerRevoked)
	e.Peer = id(n)
	return s.Revocations.RevokePeer(t.Context(), peers.Revocation{Peer: id(n), Name: "was here", At: start}, version, e)
}

func revokedPeerIsGone(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	for _, a := range []peers.Allowance{allowance(id(1), id(2)), allowance(id(2), id(1)), allowance(id(2), id(3))} {
		_, err := s.AllowList.Allow(ctx, a, 10)
		must(t, "allow", err)
	}
	must(t, "mailbox", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	_, err := s.Mailboxes.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	a := take(t, s, "a", start)
	must(t, "presence", putPresence(t, s, a, start, at(start, 1, 2)))

	is(t, "nobody", revoke(t, s, 9, 0), peers.ErrNotFound)
	is(t, "at another version", revoke(t, s, 1, 7), peers.ErrChanged)
	_, err = s.Peers.Peer(ctx, id(1))
	is(t, "the peer then", err, nil)
	is(t, "revoke", revoke(t, s, 1, 1), nil)
	is(t, "revoke again", revoke(t, s, 1, 0), peers.ErrNotFound)

	_, err = s.Peers.Peer(ctx, id(1))
	is(t, "the peer", err, peers.ErrNotFound)
	_, err = s.Peers.PeerByToken(ctx, admission(1, 1_000_001).Peer.TokenPrefix)
	is(t, "its token", err, peers.ErrNotFound)
	_, err = s.Mailboxes.Mailbox(ctx, box)
	is(t, "its mailbox", err, mailboxes.ErrNotFound)
	equal(t, "its presence", locate(t, s, 1, start), "")
	equal(t, "another's presence", locate(t, s, 2, start), "a")
	for pair, want := range map[[2]int]bool{{1, 2}: false, {2, 1}: false, {2, 3}: true} {
		_, ok, err := s.AllowList.Allowed(ctx, permission(id(pair[0]), id(pair[1])))
		must(t, "allowed", err)
		equal(t, fmt.Sprint("permission ", pair), ok, want)
	}
	putInvite(t, s, 1, 1)
	again := admission(1, 77)
	again.Open, again.Invite = false, &registry.Digest{1}
	_, err = s.Admissions.Admit(ctx, again)
	is(t, "registering again", err, peers.ErrRevoked)
	got, err := s.Revocations.Revoked(ctx, id(1))
	must(t, "revoked", err)
	equal(t, "revoked", got, true)

	e := event(audit.KindPeerReadmitted)
	is(t, "readmit another", s.Revocations.Readmit(ctx, id(2), e), peers.ErrNotFound)
	is(t, "readmit", s.Revocations.Readmit(ctx, id(1), e), nil)
	is(t, "readmit again", s.Revocations.Readmit(ctx, id(1), e), peers.ErrNotFound)
	admitted, err := s.Admissions.Admit(ctx, again)
	must(t, "the same registration, nothing of which was used up", err)
	equal(t, "new", admitted.Created, true)
	got, err = s.Revocations.Revoked(ctx, id(1))
	must(t, "revoked", err)
	equal(t, "revoked", got, false)
}

func removedPeerMayComeBack(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	for _, a := range []peers.Allowance{allowance(id(1), id(2)), allowance(id(2), id(1))} {
		_, err := s.AllowList.Allow(ctx, a, 10)
		must(t, "allow", err)
	}
	must(t, "mailbox", s.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	e := event(audit.KindPeerLeft)
	e.Peer = id(1)
	is(t, "nobody", s.Revocations.RemovePeer(ctx, id(9), e), peers.ErrNotFound)
	is(t, "remove", s.Revocations.RemovePeer(ctx, id(1), e), nil)
	is(t, "remove again", s.Revocations.RemovePeer(ctx, id(1), e), peers.ErrNotFound)

	_, err := s.Peers.PeerByToken(ctx, admission(1, 1_000_001).Peer.TokenPrefix)
	is(t, "its token", err, peers.ErrNotFound)
	_, err = s.Mailboxes.Mailbox(ctx, box)
	is(t, "its mailbox", err, mailboxes.ErrNotFound)
	for _, pair := range [][2]int{{1, 2}, {2, 1}} {
		_, ok, err := s.AllowList.Allowed(ctx, permission(id(pair[0]), id(pair[1])))
		must(t, "allowed", err)
		equal(t, fmt.Sprint("permission ", pair), ok, false)
	}
	left, err := s.Audit.Events(ctx, audit.Query{Kind: audit.KindPeerLeft, Limit: 10})
	must(t, "events", err)
	equal(t, "events", len(left), 1)
	admitted, err := s.Admissions.Admit(ctx, admission(1, 77))
	must(t, "register again", err)
	equal(t, "new", admitted.Created, true)
}

func revocationsAreInOrder(t *testing.T, s *database.Database) {
	ctx := t.Context()
	for n := range 12 {
		admit(t, s, n)
	}
	// A look that is taken meanwhile must miss none, whatever the order in
	// which they are committed.
	var seen []peers.Revocation
	look := func() {
		t.Helper()
		since := int64(0)
		if len(seen) > 0 {
			since = seen[len(seen)-1].Number
		}
		news, err := s.Revocations.Revocations(ctx, since, 5)
		must(t, "look", err)
		seen = append(seen, news...)
	}
	done := make(chan int)
	go func() {
		ok, _ := race(12, func(n int) error { return revoke(t, s, n, 0) })
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
		if i > 0 && r.Number <= seen[i-1].Number || r.Name != "was here" || !r.At.Equal(start) {
			t.Errorf("revocation %d: %+v", i, r)
		}
	}
	equal(t, "revocations seen", len(peers), 12)

	must(t, "readmit", s.Revocations.Readmit(ctx, id(3), event(audit.KindPeerReadmitted)))
	admit := admission(3, 333)
	admit.Now = start.Add(time.Hour)
	_, err := s.Admissions.Admit(ctx, admit)
	must(t, "admit", err)
	must(t, "revoke again", revoke(t, s, 3, 0))
	last := seen[len(seen)-1].Number
	news, err := s.Revocations.Revocations(ctx, last, 10)
	must(t, "look", err)
	if len(news) != 1 || news[0].Peer != id(3) {
		t.Errorf("after %d: %+v", last, news)
	}
}

// revokedPeerIsRefused checks that a revoked peer learns that it is revoked,
// whether it has an invite or not.
func revokedPeerIsRefused(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	must(t, "revoke", revoke(t, s, 1, 0))
	a := admission(1, 7)
	_, err := s.Admissions.Admit(ctx, a)
	is(t, "at an open server", err, peers.ErrRevoked)
	a.Open = false
	_, err = s.Admissions.Admit(ctx, a)
	is(t, "without an invite", err, peers.ErrRevoked)
	a.Invite = &registry.Digest{9}
	_, err = s.Admissions.Admit(ctx, a)
	is(t, "with an unknown invite", err, peers.ErrRevoked)
}
