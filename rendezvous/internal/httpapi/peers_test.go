//go:build unix

package httpapi_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func TestRegisterRenewAndRename(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		p := b.join(1)
		self := as[api.Peer](t, b.get(api.PathPeers+"/self", p.token), http.StatusOK)
		if self.ID != p.id || self.Name != "peer 1" || !bytes.Equal(self.PublicKey, p.key.Public()) || self.Online ||
			!self.Created.Equal(b.clock.Now()) {
			t.Errorf("self is %+v", self)
		}
		b.mu.Lock()
		b.online[p.id] = true
		b.mu.Unlock()
		renamed := as[api.Peer](t, b.patch(api.PathSelf, p.token, api.PeerChange{Name: "Küche"}), http.StatusOK)
		if renamed.Name != "Küche" || !renamed.Online {
			t.Errorf("renamed to %+v", renamed)
		}

		again := as[api.RegisterResult](t, b.post(api.PathPeers, "", b.registration(p.key, "peer 1")), http.StatusOK)
		if again.Token == p.token || again.ID != p.id {
			t.Errorf("renewed as %+v", again)
		}
		refused(t, "the old token", b.get(api.PathPeers+"/self", p.token), api.CodeUnauthenticated)
		as[api.Peer](t, b.get(api.PathPeers+"/self", again.Token), http.StatusOK)
	})
}

func TestPeerLeavesAndRegistersAgain(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		p, friend := b.join(1), b.join(2)
		as[api.Allowance](t, b.put(api.AllowedPath(friend.id), p.token, nil), http.StatusOK)
		as[api.Peer](t, b.get(api.PeerPath(p.id), friend.token), http.StatusOK)
		if a := b.delete(api.PathSelf, p.token); a.status != http.StatusNoContent {
			t.Fatalf("leave: status %d", a.status)
		}
		refused(t, "its token", b.delete(api.PathSelf, p.token), api.CodeUnauthenticated)
		refused(t, "found by a friend", b.get(api.PeerPath(p.id), friend.token), api.CodePeerNotFound)
		again := as[api.RegisterResult](t, b.post(api.PathPeers, "", b.registration(p.key, "peer 1")),
			http.StatusCreated)
		refused(t, "found by a previous friend", b.get(api.PeerPath(p.id), friend.token), api.CodePeerNotFound)
		as[api.Peer](t, b.get(api.PathSelf, again.Token), http.StatusOK)
	})
}

func TestForgedRegistrationIsRefused(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	key, other := newKey(t, 1), newKey(t, 2)
	sign := func(r *api.Registration) { r.Sign(key, nil) }
	for name, c := range map[string]struct {
		change func(*api.Registration)
		code   api.Code
	}{
		"another key":  {func(r *api.Registration) { r.PublicKey = other.Public() }, api.CodeSignature},
		"another name": {func(r *api.Registration) { r.Name = "other" }, api.CodeSignature},
		"a later expiry": {
			func(r *api.Registration) { r.Expires = r.Expires.Add(time.Second); sign(r) },
			api.CodeChallenge,
		},
		"a past expiry": {
			func(r *api.Registration) { r.Expires = b.clock.Now().Truncate(time.Second); sign(r) },
			api.CodeChallenge,
		},
		"an invented challenge": {
			func(r *api.Registration) { r.Challenge = bytes.Repeat([]byte{1}, 40); sign(r) },
			api.CodeChallenge,
		},
		"a prolonged challenge": {func(r *api.Registration) { r.Challenge[20]++; sign(r) }, api.CodeChallenge},
		"a short challenge": {
			func(r *api.Registration) { r.Challenge = r.Challenge[:39]; sign(r) },
			api.CodeChallenge,
		},
		"control characters": {func(r *api.Registration) { r.Name = "a\x1b[2J"; sign(r) }, api.CodeInvalid},
		"a hidden direction": {func(r *api.Registration) { r.Name = "a\u202eb"; sign(r) }, api.CodeInvalid},
		"a space at the end": {func(r *api.Registration) { r.Name = "a "; sign(r) }, api.CodeInvalid},
		"no name":            {func(r *api.Registration) { r.Name = ""; sign(r) }, api.CodeInvalid},
		"a long name": {
			func(r *api.Registration) { r.Name = strings.Repeat("x", 65); sign(r) },
			api.CodeInvalid,
		},
		"a short key": {func(r *api.Registration) { r.PublicKey = r.PublicKey[:31] }, api.CodeSignature},
	} {
		t.Run(name, func(t *testing.T) {
			r := b.registration(key, "name")
			c.change(&r)
			refused(t, name, b.post(api.PathPeers, "", r), c.code)
		})
	}
	if _, err := b.services.Directory.Peer(t.Context(), key.ID()); err == nil {
		t.Error("one of the registrations succeeded")
	}
}

func TestChallengeIsValidOnceAndBriefly(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		r := b.registration(newKey(t, 1), "name")
		as[api.RegisterResult](t, b.post(api.PathPeers, "", r), http.StatusCreated)
		refused(t, "replayed", b.post(api.PathPeers, "", r), api.CodeChallenge)

		// Another instance with the same store knows the challenge and the peer.
		twin := newBench(t, store, nil)
		refused(t, "replayed at another instance", twin.post(api.PathPeers, "", r), api.CodeChallenge)
		as[api.RegisterResult](t, twin.post(api.PathPeers, "", b.registration(newKey(t, 2), "name")),
			http.StatusCreated)

		late := b.registration(newKey(t, 3), "name")
		b.clock.Move(api.MaxChallengeTTL)
		refused(t, "late", b.post(api.PathPeers, "", late), api.CodeChallenge)
	})
}

func TestRegistrationIsBoundToItsConnection(t *testing.T) {
	b := newBench(t, sqlite(t), func(rc *services.Config, _ *httpapi.Config) { rc.RequireBinding = true })
	key := newKey(t, 1)
	refused(t, "unbound", b.post(api.PathPeers, "", b.registration(key, "name")), api.CodeBinding)

	challenge := func() (api.Challenge, []byte) {
		resp, err := b.client.Post(b.server.URL+api.PathChallenges, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var raw bytes.Buffer
		if _, err := raw.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return as[api.Challenge](t, answer{resp.StatusCode, resp.Header, raw.Bytes()},
			http.StatusCreated), exporterOf(t, resp.TLS)
	}
	c, exporter := challenge()
	r := api.Registration{Challenge: c.Challenge, Name: "name", Expires: c.Expires}
	r.Sign(key, exporter)
	b.client.CloseIdleConnections()
	refused(t, "on another connection", b.post(api.PathPeers, "", r), api.CodeSignature)

	c, exporter = challenge()
	r = api.Registration{Challenge: c.Challenge, Name: "name", Expires: c.Expires}
	r.Sign(key, exporter)
	as[api.RegisterResult](t, b.post(api.PathPeers, "", r), http.StatusCreated)
}

func TestClosedServerRequiresInvite(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, func(rc *services.Config, _ *httpapi.Config) { rc.Open = false })
		if as[api.Server](t, b.get(api.PathServer, ""), http.StatusOK).Open {
			t.Error("a closed server reports that it is open")
		}
		join := func(n int, invite string) answer {
			r := b.registration(newKey(t, n), "name")
			r.Invite = invite
			return b.post(api.PathPeers, "", r)
		}
		refused(t, "without", join(1, ""), api.CodeInviteNeeded)
		refused(t, "unknown", join(1, "no such invite"), api.CodeInvite)

		refused(t, "without a token", b.post(api.PathInvites, "", api.InviteRequest{}), api.CodeUnauthenticated)
		invite := as[api.Invite](
			t,
			b.post(api.PathInvites, b.admin(api.ScopeInvites),
				api.InviteRequest{Label: "kitchen", Uses: 1, Seconds: 60}),
			http.StatusCreated,
		)
		if invite.Label != "kitchen" || invite.Uses != 1 || !invite.Expires.Equal(b.clock.Now().Add(time.Minute)) {
			t.Errorf("invite %+v", invite)
		}
		as[api.RegisterResult](t, join(1, invite.Code), http.StatusCreated)
		refused(t, "used up", join(2, invite.Code), api.CodeInvite)
		as[api.RegisterResult](t, join(1, ""), http.StatusOK)
	})
}

func TestFullServerKeepsItsPeers(t *testing.T) {
	b := newBench(t, sqlite(t), func(rc *services.Config, _ *httpapi.Config) { rc.MaxPeers = 2 })
	first := b.join(1)
	b.join(2)
	a := b.post(api.PathPeers, "", b.registration(newKey(t, 3), "name"))
	refused(t, "one too many", a, api.CodeFull)
	as[api.RegisterResult](t, b.post(api.PathPeers, "", b.registration(first.key, "name")), http.StatusOK)
}

// TestUnknownAndDeniedAreTheSame: a caller that a peer does not allow cannot find out
// whether the peer exists.
func TestUnknownAndDeniedAreTheSame(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		asker, hidden := b.join(1), b.join(2)
		b.mu.Lock()
		b.online[hidden.id] = true
		b.mu.Unlock()
		denied := b.get(api.PeerPath(hidden.id), asker.token)
		unknown := b.get(api.PeerPath(newKey(t, 99).ID()), asker.token)
		refused(t, "denied", denied, api.CodePeerNotFound)
		if denied.status != unknown.status || !bytes.Equal(denied.body, unknown.body) {
			t.Errorf("denied: %d %q; unknown: %d %q", denied.status, denied.body, unknown.status, unknown.body)
		}
		for _, h := range []http.Header{denied.header, unknown.header} {
			h.Del("Date")
		}
		if len(denied.header) != len(unknown.header) {
			t.Errorf("headers differ: %v and %v", denied.header, unknown.header)
		}

		// Allowing a peer does not show it either.
		known := as[api.Allowance](t, b.put(api.AllowedPath(hidden.id), asker.token, nil), http.StatusOK)
		nobody := as[api.Allowance](t, b.put(api.AllowedPath(newKey(t, 99).ID()), asker.token, nil), http.StatusOK)
		if !known.Since.Equal(nobody.Since) {
			t.Errorf("allowed since %v and %v", known.Since, nobody.Since)
		}
		refused(t, "still denied", b.get(api.PeerPath(hidden.id), asker.token), api.CodePeerNotFound)

		as[api.Allowance](t, b.put(api.AllowedPath(asker.id), hidden.token, nil), http.StatusOK)
		found := as[api.Peer](t, b.get(api.PeerPath(hidden.id), asker.token), http.StatusOK)
		if found.ID != hidden.id || !found.Online {
			t.Errorf("found %+v", found)
		}
		as[api.Allowance](t, b.get(api.AllowedPath(asker.id), hidden.token), http.StatusOK)
		if list := as[api.Allowances](t, b.get(api.PathAllowed, hidden.token), http.StatusOK); len(
			list.Allowed,
		) != 1 ||
			list.Allowed[0].Peer != asker.id {
			t.Errorf("allowed: %+v", list)
		}
		for range 2 {
			if a := b.delete(api.AllowedPath(asker.id), hidden.token); a.status != http.StatusNoContent {
				t.Errorf("disallow: %d %s", a.status, a.body)
			}
		}
		refused(t, "permission withdrawn", b.get(api.PeerPath(hidden.id), asker.token), api.CodePeerNotFound)
		refused(t, "no permission", b.get(api.AllowedPath(asker.id), hidden.token), api.CodePeerNotFound)
	})
}

func TestBadTokensAreRefused(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	good := b.join(1).token
	last := byte('A')
	if good[40] == last {
		last = 'B'
	}
	for name, token := range map[string]string{
		"none": "", "empty": " ", "no prefix": good[3:], "cut off": good[:len(good)-1], "longer": good + "A",
		"another secret": good[:40] + string(last) + good[41:], "huge": strings.Repeat("x", 4000),
		"not base64": "ef_" + strings.Repeat("!", 54),
	} {
		a := b.get(api.PathPeers+"/self", token)
		refused(t, name, a, api.CodeUnauthenticated)
		if a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: WWW-Authenticate is %q", name, a.header.Get("WWW-Authenticate"))
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+api.PathPeers+"/self", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("peer", good)
	refused(t, "another scheme", b.send(req), api.CodeUnauthenticated)
}
