//go:build unix

package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func TestPeersAreListedAndFound(t *testing.T) {
	onBothStores(t, func(t *testing.T, store registry.Store) {
		b := newBench(t, store, nil)
		token := b.admin(api.ScopePeers)
		peers := map[ident.PeerID]peer{}
		for n := range 5 {
			p := b.join(n)
			peers[p.id] = p
		}
		online := newKey(t, 1).ID()
		epoch, err := store.TakeLease(t.Context(), registry.Instance{Name: "rv-1", Address: "10.0.0.1:9", Region: "attic"}, b.clock.Now(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		since := b.clock.Now()
		if _, err := store.PutPresence(t.Context(), registry.Holder{Instance: "rv-1", Epoch: epoch}, since, []registry.Presence{{Peer: online, Since: since}}); err != nil {
			t.Fatal(err)
		}
		all := as[api.Instances](t, b.do(http.MethodGet, api.PathInstances, b.admin(api.ScopeAudit), nil), http.StatusOK).Instances
		if len(all) != 1 || all[0].Until.Before(since.Add(time.Minute)) { // later by a database's own clock
			t.Fatalf("instances %+v", all)
		}
		if want := (api.Instance{Name: "rv-1", Region: "attic", Address: "10.0.0.1:9", Epoch: epoch, Until: all[0].Until, Peers: 1}); all[0] != want {
			t.Errorf("instances %+v, want %+v", all, want)
		}

		seen := map[ident.PeerID]bool{}
		next, pages := "", 0
		for again := true; again; again = next != "" {
			page := as[api.AdminPeers](t, b.do(http.MethodGet, api.PathAdminPeers+"?limit=2&after="+next, token, nil), http.StatusOK)
			for _, p := range page.Peers {
				seen[p.ID] = true
				if p.Online != (p.ID == online) || p.Online != (p.Instance == "rv-1") || p.Online != p.OnlineSince.Equal(since) || p.Version != 1 {
					t.Errorf("peer %+v", p)
				}
			}
			next = page.Next
			pages++
		}
		if len(seen) != 5 || pages != 3 {
			t.Errorf("%d peers on %d pages", len(seen), pages)
		}
		found := as[api.AdminPeers](t, b.do(http.MethodGet, api.PathAdminPeers+"?name=EER%203", token, nil), http.StatusOK)
		if len(found.Peers) != 1 || found.Peers[0].Name != "peer 3" {
			t.Errorf("found %+v", found)
		}
		refused(t, "no cursor", b.do(http.MethodGet, api.PathAdminPeers+"?after=x", token, nil), api.CodeInvalid)
		refused(t, "an unknown filter", b.do(http.MethodGet, api.PathAdminPeers+"?secret=x", token, nil), api.CodeInvalid)
		refused(t, "a long name", b.do(http.MethodGet, api.PathAdminPeers+"?name="+strings.Repeat("x", 65), token, nil), api.CodeInvalid)
	})
}

// TestTwoAdministratorsRename: who has not seen the other's change is told so
// and changes nothing.
func TestTwoAdministratorsRename(t *testing.T) {
	onBothStores(t, func(t *testing.T, store registry.Store) {
		b := newBench(t, store, nil)
		token := b.admin(api.ScopePeers)
		p := b.join(1)
		read := b.do(http.MethodGet, api.AdminPeerPath(p.id), token, nil)
		as[api.AdminPeer](t, read, http.StatusOK)
		etag := read.header.Get("ETag")
		rename := func(name string, headers ...string) answer {
			return b.do(http.MethodPatch, api.AdminPeerPath(p.id), token, api.PeerChange{Name: name}, headers...)
		}
		refused(t, "without a version", rename("first"), api.CodeVersionNeeded)
		first := rename("first", "If-Match", etag)
		if got := as[api.AdminPeer](t, first, http.StatusOK); got.Name != "first" || got.Version != 2 || first.header.Get("ETag") != `"2"` {
			t.Errorf("renamed %+v, ETag %s", got, first.header.Get("ETag"))
		}
		refused(t, "at the version before", rename("second", "If-Match", etag), api.CodeChanged)
		as[api.AdminPeer](t, rename("second", "If-Match", first.header.Get("ETag")), http.StatusOK)
		as[api.AdminPeer](t, rename("third", "If-Match", "*"), http.StatusOK)
		for _, wrong := range []string{"2", `W/"2"`, `"x"`, `"-1"`, `""`} {
			refused(t, "If-Match "+wrong, rename("x", "If-Match", wrong), api.CodeInvalid)
		}
		refused(t, "a name that deceives", rename("a\u202eb", "If-Match", "*"), api.CodeInvalid)
		nobody := newKey(t, 9).ID()
		refused(t, "nobody", b.do(http.MethodPatch, api.AdminPeerPath(nobody), token, api.PeerChange{Name: "x"}, "If-Match", "*"), api.CodePeerNotFound)

		// The name stays when the peer comes back with its own.
		again := as[api.RegisterResult](t, b.do(http.MethodPost, api.PathPeers, "", b.registration(p.key, "peer 1")), http.StatusOK)
		if again.Name != "third" {
			t.Errorf("registered again as %q", again.Name)
		}
	})
}

func TestRevokedPeerIsSentAway(t *testing.T) {
	onBothStores(t, func(t *testing.T, store registry.Store) {
		var told []ident.PeerID
		b := newBench(t, store, func(rc *registry.Config, _ *httpapi.Config) {
			rc.OnRevoked = func(id ident.PeerID, _ time.Time) { told = append(told, id) }
		})
		token := b.admin(api.ScopePeers)
		gone, friend := b.join(1), b.join(2)
		as[api.Allowance](t, b.do(http.MethodPut, api.AllowedPath(friend.id), gone.token, nil), http.StatusOK)
		as[api.Allowance](t, b.do(http.MethodPut, api.AllowedPath(gone.id), friend.token, nil), http.StatusOK)
		box := as[api.Mailbox](t, b.do(http.MethodPost, api.PathMailboxes, gone.token, nil), http.StatusCreated)

		refused(t, "at another version", b.do(http.MethodDelete, api.AdminPeerPath(gone.id), token, nil, "If-Match", `"7"`), api.CodeChanged)
		if a := b.do(http.MethodDelete, api.AdminPeerPath(gone.id), token, nil, "If-Match", `"1"`); a.status != http.StatusNoContent {
			t.Fatalf("revoke: %d %s", a.status, a.body)
		}
		if len(told) != 1 || told[0] != gone.id {
			t.Errorf("told of %v", told)
		}
		if a := b.do(http.MethodDelete, api.AdminPeerPath(gone.id), token, nil, "If-Match", `"1"`); a.status != http.StatusNoContent || len(told) != 1 {
			t.Errorf("revoke again: %d %s, told of %v", a.status, a.body, told)
		}
		refused(t, "nobody", b.do(http.MethodDelete, api.AdminPeerPath(newKey(t, 9).ID()), token, nil), api.CodePeerNotFound)
		refused(t, "its token", b.do(http.MethodGet, api.PathPeers+"/self", gone.token, nil), api.CodeUnauthenticated)
		refused(t, "its relay", b.do(http.MethodPost, api.PathRelay, gone.token, nil), api.CodeUnauthenticated)
		refused(t, "its mailbox", b.try(friend, box.Address, "x"), api.CodeMailboxNotFound)
		refused(t, "its record", b.do(http.MethodGet, api.PeerPath(gone.id), friend.token, nil), api.CodePeerNotFound)
		if list := as[api.Allowances](t, b.do(http.MethodGet, api.PathAllowed, friend.token, nil), http.StatusOK); len(list.Allowed) != 0 {
			t.Errorf("the other still allows %+v", list)
		}
		back := func() answer {
			return b.do(http.MethodPost, api.PathPeers, "", b.registration(gone.key, "peer 1"))
		}
		refused(t, "registering again", back(), api.CodeRevoked)

		list := as[api.Revocations](t, b.do(http.MethodGet, api.PathRevocations+"?limit=1", token, nil), http.StatusOK)
		if len(list.Revocations) != 1 || list.Revocations[0] != (api.Revocation{Peer: gone.id, Name: "peer 1", At: b.clock.Now().UTC()}) || list.Next != "" {
			t.Errorf("revocations %+v", list)
		}
		if a := b.do(http.MethodDelete, api.RevocationPath(gone.id), token, nil); a.status != http.StatusNoContent {
			t.Fatalf("readmit: %d %s", a.status, a.body)
		}
		refused(t, "readmit again", b.do(http.MethodDelete, api.RevocationPath(gone.id), token, nil), api.CodePeerNotFound)
		as[api.RegisterResult](t, back(), http.StatusCreated)
	})
}
