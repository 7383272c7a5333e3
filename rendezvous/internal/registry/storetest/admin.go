package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// adminToken makes the nth administrator's token, which is the nth made.
func adminToken(n byte) registry.AdminToken {
	return registry.AdminToken{
		ID: registry.TokenPrefix{n}, Hash: registry.Digest{n, 1}, Label: "für " + string('a'+rune(n)), Scopes: registry.AllScopes,
		Created: start.Add(time.Duration(n) * time.Millisecond), Expires: start.Add(time.Hour),
	}
}

func event(kind registry.EventKind) registry.Event {
	return registry.Event{At: start, Kind: kind, Actor: "admin 01", Source: "192.0.2.0", Detail: "détail", Count: 1}
}

// events returns the kinds of the last events, newest first.
func events(t *testing.T, s registry.Store) []registry.EventKind {
	t.Helper()
	all, err := s.Events(t.Context(), registry.EventQuery{Limit: 1000})
	must(t, "events", err)
	var kinds []registry.EventKind
	for _, e := range all {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func adminLinkIsGoodOnce(t *testing.T, s registry.Store) {
	ctx := t.Context()
	link := func(n byte) registry.AdminLink {
		return registry.AdminLink{Hash: registry.Digest{n}, Expires: start.Add(time.Hour)}
	}
	put := func(n byte, now time.Time, again bool) registry.Digest {
		t.Helper()
		good, err := s.PutAdminLink(ctx, link(n), now, again)
		must(t, "link", err)
		return good
	}
	redeem := func(n byte) error {
		return s.RedeemAdminLink(ctx, registry.Digest{n}, adminToken(n), event(registry.EventTokenCreated))
	}
	ok, failed := race(10, func(i int) error {
		good, err := s.PutAdminLink(ctx, link(byte(i+10)), start, false)
		if err == nil && good != link(byte(i+10)).Hash {
			err = registry.ErrAdminLink
		}
		return err
	})
	if ok != 1 {
		t.Errorf("raced: %d first links, %v", ok, failed)
	}
	equal(t, "another, on purpose", put(1, start, true), registry.Digest{1})
	equal(t, "another while one waits", put(2, start, false), registry.Digest{1})
	is(t, "an unknown one", redeem(2), registry.ErrAdminLink)
	ok, _ = race(10, func(int) error { return redeem(1) })
	equal(t, "uses of a link", ok, 1)
	equal(t, "a first one although somebody administers", put(3, start, false), registry.Digest{})
	equal(t, "one more, on purpose", put(3, start, true), registry.Digest{3})

	late := adminToken(4)
	late.Created = start.Add(time.Hour)
	is(t, "one that has expired", s.RedeemAdminLink(ctx, registry.Digest{3}, late, event(registry.EventTokenCreated)), registry.ErrAdminLink)
	must(t, "revoke", s.RevokeAdminToken(ctx, adminToken(1).ID, event(registry.EventTokenRevoked)))
	equal(t, "a first one once nobody administers any more", put(5, start.Add(time.Hour), false), registry.Digest{5})
	if got, want := events(t, s), []registry.EventKind{registry.EventTokenRevoked, registry.EventTokenCreated}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func adminTokenLife(t *testing.T, s registry.Store) {
	ctx := t.Context()
	for _, n := range []byte{2, 1, 3} {
		kept, err := s.PutAdminToken(ctx, adminToken(n), 10, event(registry.EventTokenCreated))
		must(t, "put", err)
		equal(t, "kept", kept, adminToken(n))
	}
	other := adminToken(2)
	other.Label = "other"
	kept, err := s.PutAdminToken(ctx, other, 10, event(registry.EventTokenCreated))
	must(t, "put again", err)
	equal(t, "kept as it was", kept, adminToken(2))

	got, err := s.AdminToken(ctx, adminToken(3).ID)
	must(t, "read", err)
	equal(t, "token", got, adminToken(3))
	_, err = s.AdminToken(ctx, registry.TokenPrefix{9})
	is(t, "read nothing", err, registry.ErrTokenNotFound)

	page, err := s.AdminTokens(ctx, registry.Page{Limit: 2})
	must(t, "first page", err)
	if want := []registry.AdminToken{adminToken(1), adminToken(2)}; !slices.Equal(page, want) {
		t.Errorf("first page %+v", page)
	}
	page, err = s.AdminTokens(ctx, registry.Page{After: page[1].Place(), Limit: 2})
	must(t, "second page", err)
	if want := []registry.AdminToken{adminToken(3)}; !slices.Equal(page, want) {
		t.Errorf("second page %+v", page)
	}

	is(t, "revoke", s.RevokeAdminToken(ctx, adminToken(1).ID, event(registry.EventTokenRevoked)), nil)
	is(t, "revoke again", s.RevokeAdminToken(ctx, adminToken(1).ID, event(registry.EventTokenRevoked)), nil)
	is(t, "revoke nothing", s.RevokeAdminToken(ctx, registry.TokenPrefix{9}, event(registry.EventTokenRevoked)), registry.ErrTokenNotFound)
	got, err = s.AdminToken(ctx, adminToken(1).ID)
	must(t, "read", err)
	equal(t, "revoked", got.Revoked, true)
	equal(t, "events", len(events(t, s)), 4)

	must(t, "sweep", s.Sweep(ctx, start.Add(time.Hour)))
	_, err = s.AdminToken(ctx, adminToken(3).ID)
	is(t, "one that has just expired", err, nil)
	must(t, "sweep", s.Sweep(ctx, start.Add(time.Hour+registry.TokenKept)))
	_, err = s.AdminToken(ctx, adminToken(3).ID)
	is(t, "one that has long expired", err, registry.ErrTokenNotFound)
}

func adminTokensAreBounded(t *testing.T, s registry.Store) {
	ok, failed := race(12, func(i int) error {
		_, err := s.PutAdminToken(t.Context(), adminToken(byte(i)), 5, event(registry.EventTokenCreated))
		return err
	})
	equal(t, "kept", ok, 5)
	for _, err := range failed {
		is(t, "raced", err, registry.ErrTokenLimit)
	}
	equal(t, "events", len(events(t, s)), 5)
}

func sessionsAreTokensOfTheirOwn(t *testing.T, s registry.Store) {
	ctx := t.Context()
	session := func(n, parent byte) registry.AdminToken {
		session := adminToken(n)
		session.Session, session.Parent = true, registry.TokenPrefix{parent}
		return session
	}
	put := func(session registry.AdminToken) error {
		_, err := s.PutAdminToken(ctx, session, 3, event(registry.EventSignedIn))
		return err
	}
	for n := range byte(3) {
		is(t, "a token", put(adminToken(n)), nil)
		is(t, "a session of one", put(session(10+n, 1)), nil)
		is(t, "a session of another", put(session(20+n, 2)), nil)
	}
	is(t, "a token too many", put(adminToken(9)), registry.ErrTokenLimit)
	is(t, "a session too many", put(session(19, 1)), registry.ErrTokenLimit)
	got, err := s.AdminToken(ctx, session(11, 1).ID)
	must(t, "read", err)
	equal(t, "session", got, session(11, 1))

	_, err = s.PutAdminLink(ctx, registry.AdminLink{Hash: registry.Digest{1}, Expires: start.Add(time.Hour)}, start, true)
	must(t, "link", err)
	must(t, "redeem", s.RedeemAdminLink(ctx, registry.Digest{1}, session(30, 0), event(registry.EventSignedIn)))
	got, err = s.AdminToken(ctx, session(30, 0).ID)
	must(t, "read", err)
	equal(t, "session by the link", got, session(30, 0))
}

func eventsAreOrdered(t *testing.T, s registry.Store) {
	ctx := t.Context()
	first, second, third := event(registry.EventPaired), event(registry.EventRefused), event(registry.EventRefused)
	first.Peer, first.Other = id(1), id(2)
	third.Peer, third.Count, third.Source = id(1), 7, ""
	must(t, "add", s.AddEvents(ctx, []registry.Event{first, second}))
	must(t, "add", s.AddEvents(ctx, []registry.Event{third}))
	must(t, "add nothing", s.AddEvents(ctx, nil))
	if err := s.AddEvents(ctx, make([]registry.Event, registry.MaxBatch+1)); err == nil {
		t.Error("a batch beyond the bound was taken")
	}

	all, err := s.Events(ctx, registry.EventQuery{Limit: 10})
	must(t, "read", err)
	if len(all) != 3 || all[0].Number <= all[1].Number || all[1].Number <= all[2].Number {
		t.Fatalf("got %+v", all)
	}
	for i, want := range []registry.Event{third, second, first} {
		want.Number = all[i].Number
		equal(t, "event", all[i], want)
	}
	for name, c := range map[string]struct {
		q    registry.EventQuery
		want []registry.Event
	}{
		"a page":            {registry.EventQuery{Limit: 2}, all[:2]},
		"the page after":    {registry.EventQuery{Limit: 2, Before: all[1].Number}, all[2:]},
		"of a kind":         {registry.EventQuery{Limit: 9, Kind: registry.EventRefused}, all[:2]},
		"about a peer":      {registry.EventQuery{Limit: 9, Peer: id(1)}, []registry.Event{all[0], all[2]}},
		"both, from a page": {registry.EventQuery{Limit: 9, Peer: id(1), Kind: registry.EventRefused, Before: all[0].Number}, nil},
	} {
		got, err := s.Events(ctx, c.q)
		must(t, name, err)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func eventsAreBounded(t *testing.T, s registry.Store) {
	ctx := t.Context()
	must(t, "add", s.AddEvents(ctx, []registry.Event{event(registry.EventPaired)}))
	refusals := slices.Repeat([]registry.Event{event(registry.EventRefused)}, 1000)
	for range registry.MaxRefusals/len(refusals) + 1 {
		must(t, "add", s.AddEvents(ctx, refusals))
	}
	recent := event(registry.EventTokenCreated)
	recent.At = start.Add(time.Hour)
	must(t, "add", s.AddEvents(ctx, []registry.Event{recent}))
	must(t, "sweep early", s.Sweep(ctx, start.Add(time.Hour)))
	kept, err := s.Events(ctx, registry.EventQuery{Limit: 2 * registry.MaxRefusals})
	must(t, "read", err)
	equal(t, "events kept", len(kept), registry.MaxRefusals+2)
	equal(t, "the newest", kept[0].Kind, registry.EventTokenCreated)
	equal(t, "the oldest", kept[len(kept)-1].Kind, registry.EventPaired)
	must(t, "sweep late", s.Sweep(ctx, start.Add(registry.EventsKept)))
	if got := events(t, s); !slices.Equal(got, []registry.EventKind{registry.EventTokenCreated}) {
		t.Errorf("left %v", got)
	}
}
