package storetest

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

func admitNewAndKnown(t *testing.T, s *database.Database) {
	ctx := t.Context()
	_, err := s.Peers.Peer(ctx, id(1))
	is(t, "peer before", err, peers.ErrNotFound)

	a := admission(1, 1)
	created, err := s.Admissions.Admit(ctx, a)
	must(t, "admit", err)
	equal(t, "new", created, peers.Admitted{Created: true, Name: a.Peer.Name})
	p, err := s.Peers.Peer(ctx, id(1))
	must(t, "peer", err)
	if p.ID != a.Peer.ID || !bytes.Equal(p.PublicKey, a.Peer.PublicKey) || p.Name != a.Peer.Name || !p.Created.Equal(start) ||
		p.TokenPrefix != a.Peer.TokenPrefix || p.TokenHash != a.Peer.TokenHash {
		t.Errorf("got %+v, want %+v", p, a.Peer)
	}

	b := admission(1, 2)
	b.Open, b.Peer.Name, b.Peer.Created = false, "renamed", start.Add(time.Hour)
	created, err = s.Admissions.Admit(ctx, b)
	must(t, "admit a known peer without an invite", err)
	equal(t, "new again", created, peers.Admitted{Name: "renamed"})
	p, err = s.Peers.Peer(ctx, id(1))
	must(t, "peer", err)
	if p.Name != "renamed" || p.TokenHash != b.Peer.TokenHash || !p.Created.Equal(start) {
		t.Errorf("renewed as %+v", p)
	}

	all, err := s.Audit.Events(ctx, audit.Query{Limit: 10})
	must(t, "events", err)
	if want := a.Event; len(all) != 1 {
		t.Errorf("events %+v", all)
	} else {
		want.Number = all[0].Number
		equal(t, "event", all[0], want)
	}
	n, err := s.Admissions.CountPeers(ctx)
	must(t, "count", err)
	equal(t, "peers", n, 1)
}

func invite(n byte, uses int) peers.Invite {
	return peers.Invite{
		Hash: registry.Digest{n}, Label: "for n", Uses: uses, Unlimited: uses == 0,
		Created: start.Add(time.Duration(n) * time.Millisecond), Expires: start.Add(time.Hour),
	}
}

// putInvite keeps the nth invite.
func putInvite(t *testing.T, s *database.Database, n byte, uses int) peers.Invite {
	t.Helper()
	kept, err := s.Invites.PutInvite(t.Context(), invite(n, uses), event(audit.KindInviteCreated))
	must(t, "put an invite", err)
	return kept
}

func revokeInvite(t *testing.T, s *database.Database, n byte) error {
	return s.Invites.RevokeInvite(t.Context(), peers.InviteID{n}, event(audit.KindInviteRevoked))
}

func admitWantsAnInvite(t *testing.T, s *database.Database) {
	ctx := t.Context()
	putInvite(t, s, 1, 2)
	putInvite(t, s, 2, 0)
	putInvite(t, s, 3, 5)
	must(t, "revoke", revokeInvite(t, s, 3))
	equal(t, "a revoked one put again", putInvite(t, s, 3, 5).Revoked, true)

	next := 0
	try := func(hash *registry.Digest, now time.Time) error {
		next++
		a := admission(next, next)
		a.Open, a.Invite, a.Now = false, hash, now
		_, err := s.Admissions.Admit(ctx, a)
		return err
	}
	is(t, "none", try(nil, start), peers.ErrInviteNeeded)
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

func admitRefusesReplay(t *testing.T, s *database.Database) {
	ctx := t.Context()
	_, err := s.Admissions.Admit(ctx, admission(1, 1))
	must(t, "admit", err)
	_, err = s.Admissions.Admit(ctx, admission(1, 1))
	is(t, "the same again", err, peers.ErrReplayed)
	_, err = s.Admissions.Admit(ctx, admission(2, 1))
	is(t, "another peer's", err, peers.ErrReplayed)
	_, err = s.Peers.Peer(ctx, id(2))
	is(t, "the other peer", err, peers.ErrNotFound)

	ok, failed := race(20, func(int) error {
		_, err := s.Admissions.Admit(ctx, admission(3, 3))
		return err
	})
	equal(t, "raced admissions", ok, 1)
	for _, err := range failed {
		is(t, "raced", err, peers.ErrReplayed)
	}
}

// admitFailsWhole: a registration that is refused must not use its challenge
// up, so that it may be repeated with an invite.
func admitFailsWhole(t *testing.T, s *database.Database) {
	a := admission(1, 1)
	a.Open = false
	_, err := s.Admissions.Admit(t.Context(), a)
	is(t, "without an invite", err, peers.ErrInviteNeeded)
	a.Open = true
	_, err = s.Admissions.Admit(t.Context(), a)
	is(t, "with the same challenge", err, nil)
}

func inviteRacedIsUsedUp(t *testing.T, s *database.Database) {
	ctx := t.Context()
	putInvite(t, s, 1, 1)
	ok, failed := race(20, func(i int) error {
		a := admission(i, i)
		a.Open, a.Invite = false, &registry.Digest{1}
		_, err := s.Admissions.Admit(ctx, a)
		return err
	})
	equal(t, "peers let in", ok, 1)
	for _, err := range failed {
		is(t, "raced", err, peers.ErrInvite)
	}

	// One peer that asks twice at once, as after a lost answer, uses one.
	putInvite(t, s, 2, 1)
	ok, failed = race(10, func(i int) error {
		a := admission(500, 500+i)
		a.Open, a.Invite = false, &registry.Digest{2}
		_, err := s.Admissions.Admit(ctx, a)
		return err
	})
	if ok != 10 {
		t.Errorf("the same peer: %d of 10 let in: %v", ok, failed)
	}

	// Many at once with one for a few, whose registrations a store may do
	// together.
	putInvite(t, s, 3, 5)
	ok, failed = race(60, func(i int) error {
		a := admission(1000+i, 1000+i)
		a.Open, a.Invite = false, &registry.Digest{3}
		_, err := s.Admissions.Admit(ctx, a)
		return err
	})
	equal(t, "peers let in with an invite for five", ok, 5)
	for _, err := range failed {
		is(t, "beyond the five", err, peers.ErrInvite)
	}
	invites, err := s.Invites.Invites(ctx, registry.Page{Limit: 10})
	must(t, "invites", err)
	for _, i := range invites {
		if i.Hash == (registry.Digest{3}) && (i.Used != 5 || i.Uses != 0) {
			t.Errorf("the invite for five: %+v", i)
		}
	}
}

func inviteLife(t *testing.T, s *database.Database) {
	ctx := t.Context()
	for _, n := range []byte{2, 1, 3} {
		equal(t, "kept", putInvite(t, s, n, int(n)), invite(n, int(n)))
	}
	equal(t, "put again with more uses", putInvite(t, s, 1, 100), invite(1, 1))
	a := admission(1, 1)
	a.Open, a.Invite = false, &registry.Digest{2}
	_, err := s.Admissions.Admit(ctx, a)
	must(t, "use", err)
	is(t, "revoke", revokeInvite(t, s, 2), nil)
	is(t, "revoke again", revokeInvite(t, s, 2), nil)
	is(t, "revoke nothing", revokeInvite(t, s, 9), peers.ErrInviteNotFound)

	second := invite(2, 1)
	second.Used, second.Revoked = 1, true
	got, err := s.Invites.Invite(ctx, peers.InviteID{2})
	must(t, "read", err)
	equal(t, "used and revoked", got, second)
	equal(t, "its limit", got.Limit(), 2)
	_, err = s.Invites.Invite(ctx, peers.InviteID{9})
	is(t, "read nothing", err, peers.ErrInviteNotFound)

	page, err := s.Invites.Invites(ctx, registry.Page{Limit: 2})
	must(t, "first page", err)
	if want := []peers.Invite{invite(1, 1), second}; !slices.Equal(page, want) {
		t.Errorf("got %+v, want %+v", page, want)
	}
	page, err = s.Invites.Invites(ctx, registry.Page{After: page[1].Place(), Limit: 2})
	must(t, "second page", err)
	if want := []peers.Invite{invite(3, 3)}; !slices.Equal(page, want) {
		t.Errorf("got %+v, want %+v", page, want)
	}
	want := map[audit.Kind]int{audit.KindInviteCreated: 3, audit.KindInviteRevoked: 1, audit.KindRegistered: 1}
	for _, kind := range events(t, s) {
		want[kind]--
	}
	for kind, missing := range want {
		equal(t, "missing events: "+string(kind), missing, 0)
	}
}

func tokensFindTheirPeer(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	old := admission(2, 1_000_002).Peer.TokenPrefix
	p, err := s.Peers.PeerByToken(ctx, old)
	must(t, "by token", err)
	equal(t, "peer", p.ID, id(2))
	_, err = s.Admissions.Admit(ctx, admission(2, 77))
	must(t, "renew", err)
	_, err = s.Peers.PeerByToken(ctx, old)
	is(t, "the old token", err, peers.ErrNotFound)
	p, err = s.Peers.PeerByToken(ctx, admission(2, 77).Peer.TokenPrefix)
	must(t, "by the new token", err)
	equal(t, "peer", p.ID, id(2))
}

func onlyTheAllowedFind(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	admit(t, s, 2)
	_, denied := s.Peers.PeerFor(ctx, permission(id(1), id(2)))
	is(t, "denied", denied, peers.ErrNotFound)
	_, unknown := s.Peers.PeerFor(ctx, permission(id(3), id(2)))
	is(t, "unknown", unknown, peers.ErrNotFound)
	if denied == nil || unknown == nil || denied.Error() != unknown.Error() {
		t.Errorf("denied %q and unknown %q differ", denied, unknown)
	}

	a := allowance(id(1), id(2))
	since, err := s.AllowList.Allow(ctx, a, 10)
	must(t, "allow", err)
	equal(t, "since", since, start)
	a.Since = start.Add(time.Hour)
	since, err = s.AllowList.Allow(ctx, a, 10)
	must(t, "allow again", err)
	equal(t, "since", since, start)
	p, err := s.Peers.PeerFor(ctx, permission(id(1), id(2)))
	must(t, "allowed", err)
	equal(t, "found", p.ID, id(1))
	_, err = s.Peers.PeerFor(ctx, permission(id(2), id(1)))
	is(t, "the other way round", err, peers.ErrNotFound)
	_, ok, err := s.AllowList.Allowed(ctx, permission(id(1), id(2)))
	must(t, "allowed", err)
	equal(t, "allowed", ok, true)

	must(t, "disallow", s.AllowList.Disallow(ctx, permission(id(1), id(2))))
	must(t, "disallow again", s.AllowList.Disallow(ctx, permission(id(1), id(2))))
	_, err = s.Peers.PeerFor(ctx, permission(id(1), id(2)))
	is(t, "denied again", err, peers.ErrNotFound)
	_, ok, err = s.AllowList.Allowed(ctx, permission(id(1), id(2)))
	must(t, "allowed", err)
	equal(t, "allowed", ok, false)
}

func allowedIsBounded(t *testing.T, s *database.Database) {
	ctx := t.Context()
	admit(t, s, 1)
	for i := range 3 {
		_, err := s.AllowList.Allow(ctx, allowance(id(1), id(10+i)), 3)
		must(t, "allow", err)
	}
	_, err := s.AllowList.Allow(ctx, allowance(id(1), id(20)), 3)
	is(t, "one too many", err, peers.ErrAllowedLimit)
	_, err = s.AllowList.Allow(ctx, allowance(id(1), id(10)), 3)
	is(t, "one that is there", err, nil)

	got, err := s.AllowList.AllowedBy(ctx, id(1))
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

func allowedRacedIsBounded(t *testing.T, s *database.Database) {
	admit(t, s, 1)
	ok, failed := race(20, func(i int) error {
		_, err := s.AllowList.Allow(t.Context(), allowance(id(1), id(100+i)), 5)
		return err
	})
	equal(t, "allowed", ok, 5)
	for _, err := range failed {
		if !errors.Is(err, peers.ErrAllowedLimit) {
			t.Errorf("raced: %v", err)
		}
	}
}

func permission(owner, peer ident.PeerID) peers.Permission {
	return peers.Permission{Owner: owner, Peer: peer}
}

func allowance(owner, peer ident.PeerID) peers.Allowance {
	return peers.Allowance{Permission: permission(owner, peer), Since: start}
}
