package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func named(t *testing.T, s registry.Store, n int) (name string, version int64) {
	t.Helper()
	p, err := s.Peer(t.Context(), id(n))
	must(t, "peer", err)
	return p.Name, p.Version
}

func namesAreVersioned(t *testing.T, s registry.Store) {
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
		admitted, err := s.Admit(ctx, a)
		must(t, "renew", err)
		return admitted.Name
	}
	first, _ := named(t, s, 1)
	check("admitted", first, 1)
	renew(11, first)
	check("renewed", first, 1)
	renew(12, "other")
	check("renewed with another name", "other", 2)
	is(t, "by the peer", s.Rename(ctx, registry.Naming{ID: id(1), Name: "own"}), nil)
	check("by the peer", "own", 3)
	is(t, "the same again", s.Rename(ctx, registry.Naming{ID: id(1), Name: "own"}), nil)
	check("the same again", "own", 3)

	e := event(registry.EventPeerRenamed)
	given := registry.Naming{ID: id(1), Name: "given", Version: 2, By: &e}
	is(t, "at another version", s.Rename(ctx, given), registry.ErrChanged)
	check("at another version", "own", 3)
	ok, failed := race(8, func(int) error {
		return s.Rename(ctx, registry.Naming{ID: id(1), Name: "given", Version: 3, By: &e})
	})
	equal(t, "raced", ok, 1)
	for _, err := range failed {
		is(t, "raced", err, registry.ErrChanged)
	}
	check("by an administrator", "given", 4)
	equal(t, "renewed after that", renew(13, "own"), "given")
	check("renewed after that", "given", 4)
	is(t, "by the peer again", s.Rename(ctx, registry.Naming{ID: id(1), Name: "own"}), nil)
	equal(t, "renewed at last", renew(14, "last"), "last")
	is(t, "nobody", s.Rename(ctx, registry.Naming{ID: id(9), Name: "x", By: &e}), registry.ErrPeerNotFound)
	equal(t, "events", len(events(t, s)), 2) // registered and renamed
}

func peersAreListed(t *testing.T, s registry.Store) {
	ctx := t.Context()
	var ids []ident.PeerID
	for n := range 7 {
		a := admission(n, n)
		a.Peer.Name = fmt.Sprint("Machine ", n)
		if n%2 == 1 {
			a.Peer.Name = fmt.Sprintf("100%% KÜCHE_%d", n)
		}
		_, err := s.Admit(ctx, a)
		must(t, "admit", err)
		ids = append(ids, id(n))
	}
	slices.SortFunc(ids, ident.PeerID.Compare)
	list := func(q registry.PeerQuery) []ident.PeerID {
		t.Helper()
		all, err := s.Peers(ctx, q)
		must(t, "list", err)
		var found []ident.PeerID
		for _, p := range all {
			found = append(found, p.ID)
		}
		return found
	}
	var paged []ident.PeerID
	for len(paged) < len(ids) {
		q := registry.PeerQuery{Limit: 3}
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
		equal(t, "with "+name+" in its name", len(list(registry.PeerQuery{Limit: 100, Name: name})), want)
	}
	whole := id(3).String()
	for _, text := range []string{whole, strings.ToLower(whole), whole[:7], whole[:12], id(3).Short()[:5]} {
		if found := list(registry.Search(text, 100)); !slices.Equal(found, []ident.PeerID{id(3)}) {
			t.Errorf("a search for %q finds %v", text, found)
		}
	}
	equal(t, "found by a name that could be an ID", len(list(registry.Search("machine", 100))), 4)
	equal(t, "found without a text", len(list(registry.Search("", 100))), 7)
	equal(t, "found by the first letter or a name", len(list(registry.Search("Machine 4", 100))), 1)
	equal(t, "found by an ID that nobody has", len(list(registry.Search(id(99).String(), 100))), 0)
}

// revoke sends the nth peer away.
func revoke(t *testing.T, s registry.Store, n int, version int64) error {
	t.Helper()
	e := event(registry.EventPeerRevoked)
	e.Peer = id(n)
	return s.RevokePeer(t.Context(), registry.Revocation{Peer: id(n), Name: "was here", At: start}, version, e)
}

func revokedPeerIsGone(t *testing.T, s registry.Store) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	for _, a := range []registry.Allowance{{Owner: id(1), Peer: id(2), Since: start}, {Owner: id(2), Peer: id(1), Since: start}, {Owner: id(2), Peer: id(3), Since: start}} {
		_, err := s.Allow(ctx, a, 10)
		must(t, "allow", err)
	}
	must(t, "mailbox", s.CreateMailbox(ctx, mailbox(box, 1), roomy))
	_, err := s.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	a := take(t, s, "a", start)
	must(t, "presence", putPresence(t, s, a, start, at(start, 1, 2)))

	is(t, "nobody", revoke(t, s, 9, 0), registry.ErrPeerNotFound)
	is(t, "at another version", revoke(t, s, 1, 7), registry.ErrChanged)
	_, err = s.Peer(ctx, id(1))
	is(t, "the peer then", err, nil)
	is(t, "revoke", revoke(t, s, 1, 1), nil)
	is(t, "revoke again", revoke(t, s, 1, 0), registry.ErrPeerNotFound)

	_, err = s.Peer(ctx, id(1))
	is(t, "the peer", err, registry.ErrPeerNotFound)
	_, err = s.PeerByToken(ctx, admission(1, 1_000_001).Peer.TokenPrefix)
	is(t, "its token", err, registry.ErrPeerNotFound)
	_, err = s.Mailbox(ctx, box)
	is(t, "its mailbox", err, registry.ErrMailboxNotFound)
	equal(t, "its presence", locate(t, s, 1, start), "")
	equal(t, "another's presence", locate(t, s, 2, start), "a")
	for pair, want := range map[[2]int]bool{{1, 2}: false, {2, 1}: false, {2, 3}: true} {
		_, ok, err := s.Allowed(ctx, id(pair[0]), id(pair[1]))
		must(t, "allowed", err)
		equal(t, fmt.Sprint("permission ", pair), ok, want)
	}
	putInvite(t, s, 1, 1)
	again := admission(1, 77)
	again.Open, again.Invite = false, &registry.Digest{1}
	_, err = s.Admit(ctx, again)
	is(t, "registering again", err, registry.ErrRevoked)
	got, err := s.Revoked(ctx, id(1))
	must(t, "revoked", err)
	equal(t, "revoked", got, true)

	e := event(registry.EventPeerReadmitted)
	is(t, "readmit another", s.Readmit(ctx, id(2), e), registry.ErrPeerNotFound)
	is(t, "readmit", s.Readmit(ctx, id(1), e), nil)
	is(t, "readmit again", s.Readmit(ctx, id(1), e), registry.ErrPeerNotFound)
	admitted, err := s.Admit(ctx, again)
	must(t, "the same registration, nothing of which was used up", err)
	equal(t, "new", admitted.Created, true)
	got, err = s.Revoked(ctx, id(1))
	must(t, "revoked", err)
	equal(t, "revoked", got, false)
}

func removedPeerMayComeBack(t *testing.T, s registry.Store) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	for _, a := range []registry.Allowance{{Owner: id(1), Peer: id(2), Since: start}, {Owner: id(2), Peer: id(1), Since: start}} {
		_, err := s.Allow(ctx, a, 10)
		must(t, "allow", err)
	}
	must(t, "mailbox", s.CreateMailbox(ctx, mailbox(box, 1), roomy))
	e := event(registry.EventPeerLeft)
	e.Peer = id(1)
	is(t, "nobody", s.RemovePeer(ctx, id(9), e), registry.ErrPeerNotFound)
	is(t, "remove", s.RemovePeer(ctx, id(1), e), nil)
	is(t, "remove again", s.RemovePeer(ctx, id(1), e), registry.ErrPeerNotFound)

	_, err := s.PeerByToken(ctx, admission(1, 1_000_001).Peer.TokenPrefix)
	is(t, "its token", err, registry.ErrPeerNotFound)
	_, err = s.Mailbox(ctx, box)
	is(t, "its mailbox", err, registry.ErrMailboxNotFound)
	for _, pair := range [][2]int{{1, 2}, {2, 1}} {
		_, ok, err := s.Allowed(ctx, id(pair[0]), id(pair[1]))
		must(t, "allowed", err)
		equal(t, fmt.Sprint("permission ", pair), ok, false)
	}
	left, err := s.Events(ctx, registry.EventQuery{Kind: registry.EventPeerLeft, Limit: 10})
	must(t, "events", err)
	equal(t, "events", len(left), 1)
	admitted, err := s.Admit(ctx, admission(1, 77))
	must(t, "register again", err)
	equal(t, "new", admitted.Created, true)
}

func revocationsAreInOrder(t *testing.T, s registry.Store) {
	ctx := t.Context()
	for n := range 12 {
		admit(t, s, n)
	}
	// A look that is taken meanwhile must miss none, whatever the order in
	// which they are committed.
	var seen []registry.Revocation
	look := func() {
		t.Helper()
		since := int64(0)
		if len(seen) > 0 {
			since = seen[len(seen)-1].Number
		}
		news, err := s.Revocations(ctx, since, 5)
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

	must(t, "readmit", s.Readmit(ctx, id(3), event(registry.EventPeerReadmitted)))
	admit := admission(3, 333)
	admit.Now = start.Add(time.Hour)
	_, err := s.Admit(ctx, admit)
	must(t, "admit", err)
	must(t, "revoke again", revoke(t, s, 3, 0))
	last := seen[len(seen)-1].Number
	news, err := s.Revocations(ctx, last, 10)
	must(t, "look", err)
	if len(news) != 1 || news[0].Peer != id(3) {
		t.Errorf("after %d: %+v", last, news)
	}
}
