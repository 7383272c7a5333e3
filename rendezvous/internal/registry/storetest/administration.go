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

// adminToken returns the nth administrator's token, which is the nth in the list.
func adminToken(n byte) administration.Token {
	return administration.Token{
		ID: registry.TokenPrefix{n}, Hash: registry.Digest{n, 1}, Label: "für " + string('a'+rune(n)),
		Scopes:  administration.AllScopes,
		Created: start.Add(time.Duration(n) * time.Millisecond), Expires: start.Add(time.Hour),
	}
}

// adminLinkIsUsedOnce checks that one link is valid at a time, that it is used once, and that an
// unforced link needs a server without an administrator.
func adminLinkIsUsedOnce(t *testing.T, db *database.Database) {
	ctx := t.Context()
	link := func(n byte) administration.Link {
		return administration.Link{Hash: registry.Digest{n}, Expires: start.Add(time.Hour)}
	}
	put := func(n byte, now time.Time, again bool) registry.Digest {
		t.Helper()
		good, err := db.Administration.PutAdminLink(ctx, link(n), now, again)
		must(t, "link", err)
		return good
	}
	redeem := func(n byte) error {
		return db.Administration.RedeemAdminLink(ctx, registry.Digest{n}, adminToken(n), event(audit.KindTokenCreated))
	}
	ok, failed := race(10, func(i int) error {
		good, err := db.Administration.PutAdminLink(ctx, link(byte(i+10)), start, false)
		if err == nil && good != link(byte(i+10)).Hash {
			err = administration.ErrAdminLink
		}
		return err
	})
	if ok != 1 {
		t.Errorf("concurrent requests for a first link: %d succeeded, %v", ok, failed)
	}
	equal(t, "a forced second link", put(1, start, true), registry.Digest{1})
	equal(t, "a second link while the first is valid", put(2, start, false), registry.Digest{1})
	is(t, "redeem an unknown link", redeem(2), administration.ErrAdminLink)
	ok, _ = race(10, func(int) error { return redeem(1) })
	equal(t, "uses of a link", ok, 1)
	equal(t, "a first link although there is an administrator", put(3, start, false), registry.Digest{})
	equal(t, "a forced link although there is an administrator", put(3, start, true), registry.Digest{3})

	late := adminToken(4)
	late.Created = start.Add(time.Hour)
	is(t, "redeem an expired link", db.Administration.RedeemAdminLink(ctx, registry.Digest{3}, late,
		event(audit.KindTokenCreated)), administration.ErrAdminLink)
	must(t, "revoke", db.Administration.RevokeAdminToken(ctx, adminToken(1).ID, event(audit.KindTokenRevoked)))
	equal(t, "a first link after the last administrator was revoked",
		put(5, start.Add(time.Hour), false), registry.Digest{5})
	if got, want := events(t, db), []audit.Kind{audit.KindTokenRevoked, audit.KindTokenCreated}; !slices.Equal(got,
		want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// adminTokensAreListedAndRevoked checks that a token is kept unchanged, listed in pages, revoked once, and
// removed some time after it expired.
func adminTokensAreListedAndRevoked(t *testing.T, db *database.Database) {
	ctx := t.Context()
	for _, n := range []byte{2, 1, 3} {
		kept, err := db.Administration.PutAdminToken(ctx, adminToken(n), 10, event(audit.KindTokenCreated))
		must(t, "put", err)
		equal(t, "kept", kept, adminToken(n))
	}
	other := adminToken(2)
	other.Label = "other"
	kept, err := db.Administration.PutAdminToken(ctx, other, 10, event(audit.KindTokenCreated))
	must(t, "put again", err)
	equal(t, "kept unchanged", kept, adminToken(2))

	got, err := db.Administration.AdminToken(ctx, adminToken(3).ID)
	must(t, "read", err)
	equal(t, "token", got, adminToken(3))
	_, err = db.Administration.AdminToken(ctx, registry.TokenPrefix{9})
	is(t, "read an unknown one", err, administration.ErrTokenNotFound)

	page, err := db.Administration.AdminTokens(ctx, registry.Page{Limit: 2})
	must(t, "first page", err)
	if want := []administration.Token{adminToken(1), adminToken(2)}; !slices.Equal(page, want) {
		t.Errorf("first page %+v", page)
	}
	page, err = db.Administration.AdminTokens(ctx, registry.Page{After: page[1].Place(), Limit: 2})
	must(t, "second page", err)
	if want := []administration.Token{adminToken(3)}; !slices.Equal(page, want) {
		t.Errorf("second page %+v", page)
	}

	is(t, "revoke", db.Administration.RevokeAdminToken(ctx, adminToken(1).ID, event(audit.KindTokenRevoked)), nil)
	is(t, "revoke again", db.Administration.RevokeAdminToken(ctx, adminToken(1).ID, event(audit.KindTokenRevoked)), nil)
	is(t, "revoke an unknown one", db.Administration.RevokeAdminToken(ctx, registry.TokenPrefix{9},
		event(audit.KindTokenRevoked)), administration.ErrTokenNotFound)
	got, err = db.Administration.AdminToken(ctx, adminToken(1).ID)
	must(t, "read", err)
	equal(t, "revoked", got.Revoked, true)
	equal(t, "events", len(events(t, db)), 4)

	must(t, "sweep", db.Sweep(ctx, start.Add(time.Hour)))
	_, err = db.Administration.AdminToken(ctx, adminToken(3).ID)
	is(t, "a token that has just expired", err, nil)
	must(t, "sweep", db.Sweep(ctx, start.Add(time.Hour+administration.TokenRetention)))
	_, err = db.Administration.AdminToken(ctx, adminToken(3).ID)
	is(t, "a token that expired long ago", err, administration.ErrTokenNotFound)
}

// adminTokensAreBounded checks the bound on tokens with concurrent requests.
func adminTokensAreBounded(t *testing.T, db *database.Database) {
	ok, failed := race(12, func(i int) error {
		_, err := db.Administration.PutAdminToken(t.Context(), adminToken(byte(i)), 5, event(audit.KindTokenCreated))
		return err
	})
	equal(t, "kept", ok, 5)
	for _, err := range failed {
		is(t, "a concurrent request", err, administration.ErrTokenLimit)
	}
	equal(t, "events", len(events(t, db)), 5)
}

// signInsAreBoundedByParent checks that sign-ins have a bound of their own for each parent.
func signInsAreBoundedByParent(t *testing.T, db *database.Database) {
	ctx := t.Context()
	session := func(n, parent byte) administration.Token {
		session := adminToken(n)
		session.SignIn, session.Parent = true, registry.TokenPrefix{parent}
		return session
	}
	put := func(session administration.Token) error {
		_, err := db.Administration.PutAdminToken(ctx, session, 3, event(audit.KindSignedIn))
		return err
	}
	for n := range byte(3) {
		is(t, "a token", put(adminToken(n)), nil)
		is(t, "a sign-in of one parent", put(session(10+n, 1)), nil)
		is(t, "a sign-in of another parent", put(session(20+n, 2)), nil)
	}
	is(t, "one token too many", put(adminToken(9)), administration.ErrTokenLimit)
	is(t, "one sign-in too many", put(session(19, 1)), administration.ErrTokenLimit)
	got, err := db.Administration.AdminToken(ctx, session(11, 1).ID)
	must(t, "read", err)
	equal(t, "sign-in", got, session(11, 1))

	_, err = db.Administration.PutAdminLink(ctx, administration.Link{
		Hash:    registry.Digest{1},
		Expires: start.Add(time.Hour),
	}, start, true)
	must(t, "link", err)
	must(t, "redeem", db.Administration.RedeemAdminLink(ctx, registry.Digest{1}, session(30, 0),
		event(audit.KindSignedIn)))
	got, err = db.Administration.AdminToken(ctx, session(30, 0).ID)
	must(t, "read", err)
	equal(t, "sign-in by the link", got, session(30, 0))
}
