package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// newAndKnownPeersAreAdmitted checks that a new peer is created with an event, and that a known peer is
// renewed without an invite and without an event.
func newAndKnownPeersAreAdmitted(t *testing.T, db *database.Database) {
	ctx := t.Context()
	_, err := db.Peers.Peer(ctx, id(1))
	is(t, "the peer before", err, peers.ErrNotFound)

	a := admission(1, 1)
	created, err := db.Admissions.Admit(ctx, a)
	must(t, "admit", err)
	equal(t, "result", created, peers.AdmissionResult{Created: true, Name: a.Peer.Name})
	p, err := db.Peers.Peer(ctx, id(1))
	must(t, "peer", err)
	if p.ID != a.Peer.ID || !bytes.Equal(p.PublicKey, a.Peer.PublicKey) || p.Name != a.Peer.Name ||
		!p.Created.Equal(start) ||
		p.TokenPrefix != a.Peer.TokenPrefix || p.TokenHash != a.Peer.TokenHash {
		t.Errorf("got %+v, want %+v", p, a.Peer)
	}

	b := admission(1, 2)
	b.Open, b.Peer.Name, b.Peer.Created = false, "renamed", start.Add(time.Hour)
	created, err = db.Admissions.Admit(ctx, b)
	must(t, "admit a known peer without an invite", err)
	equal(t, "result for a known peer", created, peers.AdmissionResult{Name: "renamed"})
	p, err = db.Peers.Peer(ctx, id(1))
	must(t, "peer", err)
	if p.Name != "renamed" || p.TokenHash != b.Peer.TokenHash || !p.Created.Equal(start) {
		t.Errorf("after the renewal: %+v", p)
	}

	all, err := db.Audit.Events(ctx, audit.Query{Limit: 10})
	must(t, "events", err)
	if want := a.Event; len(all) != 1 {
		t.Errorf("events %+v", all)
	} else {
		want.Number = all[0].Number
		equal(t, "event", all[0], want)
	}
	n, err := db.Admissions.CountPeers(ctx)
	must(t, "count", err)
	equal(t, "peers", n, 1)
}

// challengeIsUsedOnce checks that a challenge admits one peer once, also if requests with it are
// concurrent.
func challengeIsUsedOnce(t *testing.T, db *database.Database) {
	ctx := t.Context()
	_, err := db.Admissions.Admit(ctx, admission(1, 1))
	must(t, "admit", err)
	_, err = db.Admissions.Admit(ctx, admission(1, 1))
	is(t, "the same again", err, peers.ErrReplayed)
	_, err = db.Admissions.Admit(ctx, admission(2, 1))
	is(t, "the challenge of another peer", err, peers.ErrReplayed)
	_, err = db.Peers.Peer(ctx, id(2))
	is(t, "the other peer", err, peers.ErrNotFound)

	ok, failed := race(20, func(int) error {
		_, err := db.Admissions.Admit(ctx, admission(3, 3))
		return err
	})
	equal(t, "concurrent admissions", ok, 1)
	for _, err := range failed {
		is(t, "a concurrent request", err, peers.ErrReplayed)
	}
}

// refusedAdmissionLeavesNothing checks that a refused registration does not use up its challenge, so that
// the peer can repeat it with an invite.
func refusedAdmissionLeavesNothing(t *testing.T, db *database.Database) {
	a := admission(1, 1)
	a.Open = false
	_, err := db.Admissions.Admit(t.Context(), a)
	is(t, "without an invite", err, peers.ErrInviteNeeded)
	a.Open = true
	_, err = db.Admissions.Admit(t.Context(), a)
	is(t, "with the same challenge", err, nil)
}

// tokensFindTheirPeer checks that a peer is found by its newest token only.
func tokensFindTheirPeer(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	admit(t, db, 2)
	old := admission(2, 1_000_002).Peer.TokenPrefix
	p, err := db.Peers.PeerByToken(ctx, old)
	must(t, "by token", err)
	equal(t, "peer", p.ID, id(2))
	_, err = db.Admissions.Admit(ctx, admission(2, 77))
	must(t, "renew", err)
	_, err = db.Peers.PeerByToken(ctx, old)
	is(t, "the old token", err, peers.ErrNotFound)
	p, err = db.Peers.PeerByToken(ctx, admission(2, 77).Peer.TokenPrefix)
	must(t, "by the new token", err)
	equal(t, "peer", p.ID, id(2))
}

// named returns the name and the version of the nth peer.
func named(t *testing.T, db *database.Database, n int) (name string, version int64) {
	t.Helper()
	p, err := db.Peers.Peer(t.Context(), id(n))
	must(t, "peer", err)
	return p.Name, p.Version
}

// namesAreVersioned checks that each change of a name has a version, that a change at an
// outdated version is refused, and that the name that an administrator gave stays.
func namesAreVersioned(t *testing.T, db *database.Database) {
	ctx := t.Context()
	admit(t, db, 1)
	check := func(what, name string, version int64) {
		t.Helper()
		gotName, gotVersion := named(t, db, 1)
		equal(t, what+": name", gotName, name)
		equal(t, what+": version", gotVersion, version)
	}
	renew := func(challenge int, name string) string {
		t.Helper()
		a := admission(1, challenge)
		a.Peer.Name = name
		admitted, err := db.Admissions.Admit(ctx, a)
		must(t, "renew", err)
		return admitted.Name
	}
	first, _ := named(t, db, 1)
	check("admitted", first, 1)
	renew(11, first)
	check("renewed", first, 1)
	renew(12, "other")
	check("renewed with another name", "other", 2)
	is(t, "by the peer", db.Peers.Rename(ctx, peers.NameChange{ID: id(1), Name: "own"}), nil)
	check("by the peer", "own", 3)
	is(t, "the same again", db.Peers.Rename(ctx, peers.NameChange{ID: id(1), Name: "own"}), nil)
	check("the same again", "own", 3)

	e := event(audit.KindPeerRenamed)
	given := peers.NameChange{ID: id(1), Name: "given", Version: 2, By: &e}
	is(t, "at another version", db.Peers.Rename(ctx, given), peers.ErrChanged)
	check("at another version", "own", 3)
	ok, failed := race(8, func(int) error {
		return db.Peers.Rename(ctx, peers.NameChange{ID: id(1), Name: "given", Version: 3, By: &e})
	})
	equal(t, "concurrent requests that succeeded", ok, 1)
	for _, err := range failed {
		is(t, "a concurrent request", err, peers.ErrChanged)
	}
	check("by an administrator", "given", 4)
	equal(t, "renewed after that", renew(13, "own"), "given")
	check("renewed after that", "given", 4)
	is(t, "by the peer again", db.Peers.Rename(ctx, peers.NameChange{ID: id(1), Name: "own"}), nil)
	equal(t, "renewed after the peer changed its name", renew(14, "last"), "last")
	is(t, "an unknown peer", db.Peers.Rename(ctx, peers.NameChange{ID: id(9), Name: "x", By: &e}), peers.ErrNotFound)
	equal(t, "events", len(events(t, db)), 2) // registered and renamed
}

// peersAreListed checks pages and searches of the list of peers.
func peersAreListed(t *testing.T, db *database.Database) {
	ctx := t.Context()
	var ids []ident.PeerID
	for n := range 7 {
		a := admission(n, n)
		a.Peer.Name = fmt.Sprint("Machine ", n)
		if n%2 == 1 {
			a.Peer.Name = fmt.Sprintf("100%% KÜCHE_%d", n)
		}
		_, err := db.Admissions.Admit(ctx, a)
		must(t, "admit", err)
		ids = append(ids, id(n))
	}
	slices.SortFunc(ids, ident.PeerID.Compare)
	list := func(q peers.Query) []ident.PeerID {
		t.Helper()
		all, err := db.Peers.Peers(ctx, q)
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
			t.Fatalf("a page of %d peers", len(page))
		}
		paged = append(paged, page...)
	}
	if !slices.Equal(paged, ids) {
		t.Errorf("pages hold %v, want %v", paged, ids)
	}
	for name, want := range map[string]int{
		"": 7, "machine": 4, "MACHINE 2": 1, "kÜc": 3, "küc": 0, "%": 3, "_": 3,
		"e_5": 1, "0% k": 3, "an unknown peer": 0, "'": 0,
	} {
		equal(t, "with "+name+" in its name", len(list(peers.Query{Limit: 100, Name: name})), want)
	}
	whole := id(3).String()
	for _, text := range []string{whole, strings.ToLower(whole), whole[:7], whole[:12], id(3).Short()[:5]} {
		if found := list(peers.Search(text, 100)); !slices.Equal(found, []ident.PeerID{id(3)}) {
			t.Errorf("a search for %q finds %v", text, found)
		}
	}
	equal(t, "found by a name that has the form of an ID", len(list(peers.Search("machine", 100))), 4)
	equal(t, "found without a text", len(list(peers.Search("", 100))), 7)
	equal(t, "found by the first letter or a name", len(list(peers.Search("Machine 4", 100))), 1)
	equal(t, "found by an unknown ID", len(list(peers.Search(id(99).String(), 100))), 0)
}
