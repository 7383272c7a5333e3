package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// adminToken makes the nth administrator's token, which is the nth made.
func adminToken(n byte) administration.Token {
	return administration.Token{
		ID: registry.TokenPrefix{n}, Hash: registry.Digest{n, 1}, Label: "für " + string('a'+rune(n)), Scopes: administration.AllScopes,
		Created: start.Add(time.Duration(n) * time.Millisecond), Expires: start.Add(time.Hour),
	}
}

func event(kind audit.Kind) audit.Event {
	return audit.Event{At: start, Kind: kind, Actor: "admin 01", Source: "192.0.2.0", Detail: "détail", Count: 1}
}

// events returns the kinds of the last events, newest first.
func events(t *testing.T, s *database.Database) []audit.Kind {
	t.Helper()
	all, err := s.Audit.Events(t.Context(), audit.Query{Limit: 1000})
	must(t, "events", err)
	var kinds []audit.Kind
	for _, e := range all {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func adminLinkIsGoodOnce(t *testing.T, s *database.Database) {
	ctx := t.Context()
	link := func(n byte) administration.Link {
		return administration.Link{Hash: registry.Digest{n}, Expires: start.Add(time.Hour)}
	}
	put := func(n byte, now time.Time, again bool) registry.Digest {
		t.Helper()
		good, err := s.Administration.PutAdminLink(ctx, link(n), now, again)
		must(t, "link", err)
		return good
	}
	redeem := func(n byte) error {
		return s.Administration.RedeemAdminLink(ctx, registry.Digest{n}, adminToken(n), event(audit.KindTokenCreated))
	}
	ok, failed := race(10, func(i int) error {
		good, err := s.Administration.PutAdminLink(ctx, link(byte(i+10)), start, false)
		if err == nil && good != link(byte(i+10)).Hash {
			err = administration.ErrAdminLink
		}
		return err
	})
	if ok != 1 {
		t.Errorf("raced: %d first links, %v", ok, failed)
	}
	equal(t, "another, on purpose", put(1, start, true), registry.Digest{1})
	equal(t, "another while one waits", put(2, start, false), registry.Digest{1})
	is(t, "an unknown one", redeem(2), administration.ErrAdminLink)
	ok, _ = race(10, func(int) error { return redeem(1) })
	equal(t, "uses of a link", ok, 1)
	equal(t, "a first one although somebody administers", put(3, start, false), registry.Digest{})
	equal(t, "one more, on purpose", put(3, start, true), registry.Digest{3})

	late := adminToken(4)
	late.Created = start.Add(time.Hour)
	is(t, "one that has expired", s.Administration.RedeemAdminLink(ctx, registry.Digest{3}, late, event(audit.KindTokenCreated)), administration.ErrAdminLink)
	must(t, "revoke", s.Administration.RevokeAdminToken(ctx, adminToken(1).ID, event(audit.KindTokenRevoked)))
	equal(t, "a first one once nobody administers any more", put(5, start.Add(time.Hour), false), registry.Digest{5})
	if got, want := events(t, s), []audit.Kind{audit.KindTokenRevoked, audit.KindTokenCreated}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func adminTokenLife(t *testing.T, s *database.Database) {
	ctx := t.Context()
	for _, n := range []byte{2, 1, 3} {
		kept, err := s.Administration.PutAdminToken(ctx, adminToken(n), 10, event(audit.KindTokenCreated))
		must(t, "put", err)
		equal(t, "kept", kept, adminToken(n))
	}
	other := adminToken(2)
	other.Label = "other"
	kept, err := s.Administration.PutAdminToken(ctx, other, 10, event(audit.KindTokenCreated))
	must(t, "put again", err)
	equal(t, "kept as it was", kept, adminToken(2))

	got, err := s.Administration.AdminToken(ctx, adminToken(3).ID)
	must(t, "read", err)
	equal(t, "token", got, adminToken(3))
	_, err = s.Administration.AdminToken(ctx, registry.TokenPrefix{9})
	is(t, "read nothing", err, administration.ErrTokenNotFound)

	page, err := s.Administration.AdminTokens(ctx, registry.Page{Limit: 2})
	must(t, "first page", err)
	if want := []administration.Token{adminToken(1), adminToken(2)}; !slices.Equal(page, want) {
		t.Errorf("first page %+v", page)
	}
	page, err = s.Administration.AdminTokens(ctx, registry.Page{After: page[1].Place(), Limit: 2})
	must(t, "second page", err)
	if want := []administration.Token{adminToken(3)}; !slices.Equal(page, want) {
		t.Errorf("second page %+v", page)
	}

	is(t, "revoke", s.Administration.RevokeAdminToken(ctx, adminToken(1).ID, event(audit.KindTokenRevoked)), nil)
	is(t, "revoke again", s.Administration.RevokeAdminToken(ctx, adminToken(1).ID, event(audit.KindTokenRevoked)), nil)
	is(t, "revoke nothing", s.Administration.RevokeAdminToken(ctx, registry.TokenPrefix{9}, event(audit.KindTokenRevoked)), administration.ErrTokenNotFound)
	got, err = s.Administration.AdminToken(ctx, adminToken(1).ID)
	must(t, "read", err)
	equal(t, "revoked", got.Revoked, true)
	equal(t, "events", len(events(t, s)), 4)

	must(t, "sweep", s.Sweep(ctx, start.Add(time.Hour)))
	_, err = s.Administration.AdminToken(ctx, adminToken(3).ID)
	is(t, "one that has just expired", err, nil)
	must(t, "sweep", s.Sweep(ctx, start.Add(time.Hour+administration.TokenRetention)))
	_, err = s.Administration.AdminToken(ctx, adminToken(3).ID)
	is(t, "one that has long expired", err, administration.ErrTokenNotFound)
}

func adminTokensAreBounded(t *testing.T, s *database.Database) {
	ok, failed := race(12, func(i int) error {
		_, err := s.Administration.PutAdminToken(t.Context(), adminToken(byte(i)), 5, event(audit.KindTokenCreated))
		return err
	})
	equal(t, "kept", ok, 5)
	for _, err := range failed {
		is(t, "raced", err, administration.ErrTokenLimit)
	}
	equal(t, "events", len(events(t, s)), 5)
}

func sessionsAreTokensOfTheirOwn(t *testing.T, s *database.Database) {
	ctx := t.Context()
	session := func(n, parent byte) administration.Token {
		session := adminToken(n)
		session.SignIn, session.Parent = true, registry.TokenPrefix{parent}
		return session
	}
	put := func(session administration.Token) error {
		_, err := s.Administration.PutAdminToken(ctx, session, 3, event(audit.KindSignedIn))
		return err
	}
	for n := range byte(3) {
		is(t, "a token", put(adminToken(n)), nil)
		is(t, "a session of one", put(session(10+n, 1)), nil)
		is(t, "a session of another", put(session(20+n, 2)), nil)
	}
	is(t, "a token too many", put(adminToken(9)), administration.ErrTokenLimit)
	is(t, "a session too many", put(session(19, 1)), administration.ErrTokenLimit)
	got, err := s.Administration.AdminToken(ctx, session(11, 1).ID)
	must(t, "read", err)
	equal(t, "session", got, session(11, 1))

	_, err = s.Administration.PutAdminLink(ctx, administration.Link{Hash: registry.Digest{1}, Expires: start.Add(time.Hour)}, start, true)
	must(t, "link", err)
	must(t, "redeem", s.Administration.RedeemAdminLink(ctx, registry.Digest{1}, session(30, 0), event(audit.KindSignedIn)))
	got, err = s.Administration.AdminToken(ctx, session(30, 0).ID)
	must(t, "read", err)
	equal(t, "session by the link", got, session(30, 0))
}

func eventsAreOrdered(t *testing.T, s *database.Database) {
	ctx := t.Context()
	first, second, third := event(audit.KindPaired), event(audit.KindRefused), event(audit.KindRefused)
	first.Peer, first.Other = id(1), id(2)
	third.Peer, third.Count, third.Source = id(1), 7, ""
	must(t, "add", s.Audit.AddEvents(ctx, []audit.Event{first, second}))
	must(t, "add", s.Audit.AddEvents(ctx, []audit.Event{third}))
	must(t, "add nothing", s.Audit.AddEvents(ctx, nil))
	if err := s.Audit.AddEvents(ctx, make([]audit.Event, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was taken")
	}

	all, err := s.Audit.Events(ctx, audit.Query{Limit: 10})
	must(t, "read", err)
	if len(all) != 3 || all[0].Number <= all[1].Number || all[1].Number <= all[2].Number {
		t.Fatalf("got %+v", all)
	}
	for i, want := range []audit.Event{third, second, first} {
		want.Number = all[i].Number
		equal(t, "event", all[i], want)
	}
	for name, c := range map[string]struct {
		q    audit.Query
		want []audit.Event
	}{
		"a page":            {audit.Query{Limit: 2}, all[:2]},
		"the page after":    {audit.Query{Limit: 2, Before: all[1].Number}, all[2:]},
		"of a kind":         {audit.Query{Limit: 9, Kind: audit.KindRefused}, all[:2]},
		"about a peer":      {audit.Query{Limit: 9, Peer: id(1)}, []audit.Event{all[0], all[2]}},
		"both, from a page": {audit.Query{Limit: 9, Peer: id(1), Kind: audit.KindRefused, Before: all[0].Number}, nil},
	} {
		got, err := s.Audit.Events(ctx, c.q)
		must(t, name, err)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func eventsAreBounded(t *testing.T, s *database.Database) {
	ctx := t.Context()
	must(t, "add", s.Audit.AddEvents(ctx, []audit.Event{event(audit.KindPaired)}))
	refusals := slices.Repeat([]audit.Event{event(audit.KindRefused)}, 1000)
	for range audit.MaxRefusals/len(refusals) + 1 {
		must(t, "add", s.Audit.AddEvents(ctx, refusals))
	}
	recent := event(audit.KindTokenCreated)
	recent.At = start.Add(time.Hour)
	must(t, "add", s.Audit.AddEvents(ctx, []audit.Event{recent}))
	must(t, "sweep early", s.Sweep(ctx, start.Add(time.Hour)))
	kept, err := s.Audit.Events(ctx, audit.Query{Limit: 2 * audit.MaxRefusals})
	must(t, "read", err)
	equal(t, "events kept", len(kept), audit.MaxRefusals+2)
	equal(t, "the newest", kept[0].Kind, audit.KindTokenCreated)
	equal(t, "the oldest", kept[len(kept)-1].Kind, audit.KindPaired)
	must(t, "sweep late", s.Sweep(ctx, start.Add(audit.Retention)))
	if got := events(t, s); !slices.Equal(got, []audit.Kind{audit.KindTokenCreated}) {
		t.Errorf("left %v", got)
	}
}
