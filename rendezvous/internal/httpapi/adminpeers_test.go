//go:build unix

package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func TestPeersAreListedAndFound(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		token := b.admin(api.ScopePeers)
		peers := map[ident.PeerID]peer{}
		for n := range 5 {
			p := b.join(n)
			peers[p.id] = p
		}
		online := newKey(t, 1).ID()
		epoch, err := store.Leases.TakeLease(t.Context(),
			presence.Instance{Name: "rv-1", Address: "10.0.0.1:9", Region: "attic"}, b.clock.Now(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		since := b.clock.Now()
		holder := presence.Holder{Instance: "rv-1", Epoch: epoch}
		presence := []presence.Connection{{Peer: online, Since: since}}
		if _, err := store.Presence.PutPresence(t.Context(), holder, since, presence); err != nil {
			t.Fatal(err)
		}
		all := as[api.Instances](t, b.get(api.PathInstances, b.admin(api.ScopeAudit)), http.StatusOK).Instances
		if len(all) != 1 || all[0].Until.Before(since.Add(time.Minute)) { // the database may use its own clock
			t.Fatalf("instances %+v", all)
		}
		want := api.Instance{
			Name: "rv-1", Region: "attic", Address: "10.0.0.1:9", Epoch: epoch, Until: all[0].Until, Peers: 1,
		}
		if all[0] != want {
			t.Errorf("instances %+v, want %+v", all, want)
		}

		seen := map[ident.PeerID]bool{}
		next, pages := "", 0
		for again := true; again; again = next != "" {
			page := as[api.AdminPeers](t, b.get(api.PathAdminPeers+"?limit=2&after="+next, token), http.StatusOK)
			for _, p := range page.Peers {
				seen[p.ID] = true
				if p.Online != (p.ID == online) || p.Online != (p.Instance == "rv-1") ||
					p.Online != p.OnlineSince.Equal(since) ||
					p.Version != 1 {
					t.Errorf("peer %+v", p)
				}
			}
			next = page.Next
			pages++
		}
		if len(seen) != 5 || pages != 3 {
			t.Errorf("%d peers on %d pages", len(seen), pages)
		}
		found := as[api.AdminPeers](t, b.get(api.PathAdminPeers+"?name=EER%203", token), http.StatusOK)
		if len(found.Peers) != 1 || found.Peers[0].Name != "peer 3" {
			t.Errorf("found %+v", found)
		}
		refused(t, "a bad cursor", b.get(api.PathAdminPeers+"?after=x", token), api.CodeInvalid)
		refused(t, "an unknown filter", b.get(api.PathAdminPeers+"?secret=x", token), api.CodeInvalid)
		refused(t, "a long name", b.get(api.PathAdminPeers+"?name="+strings.Repeat("x", 65), token), api.CodeInvalid)
	})
}

// TestStaleRenameIsRefused: an administrator who has not seen the change of another
// one changes nothing.
func TestStaleRenameIsRefused(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		token := b.admin(api.ScopePeers)
		p := b.join(1)
		read := b.get(api.AdminPeerPath(p.id), token)
		as[api.AdminPeer](t, read, http.StatusOK)
		etag := read.header.Get("ETag")
		rename := func(name string, headers ...string) answer {
			return b.patch(api.AdminPeerPath(p.id), token, api.PeerChange{Name: name}, headers...)
		}
		refused(t, "without a version", rename("first"), api.CodeVersionNeeded)
		first := rename("first", "If-Match", etag)
		if got := as[api.AdminPeer](t, first, http.StatusOK); got.Name != "first" || got.Version != 2 ||
			first.header.Get("ETag") != `"2"` {
			t.Errorf("renamed %+v, ETag %s", got, first.header.Get("ETag"))
		}
		refused(t, "at the previous version", rename("second", "If-Match", etag), api.CodeChanged)
		as[api.AdminPeer](t, rename("second", "If-Match", first.header.Get("ETag")), http.StatusOK)
		as[api.AdminPeer](t, rename("third", "If-Match", "*"), http.StatusOK)
		for _, wrong := range []string{"2", `W/"2"`, `"x"`, `"-1"`, `""`} {
			refused(t, "If-Match "+wrong, rename("x", "If-Match", wrong), api.CodeInvalid)
		}
		refused(t, "a name with hidden characters", rename("a\u202eb", "If-Match", "*"), api.CodeInvalid)
		nobody := newKey(t, 9).ID()
		refused(
			t,
			"an unknown peer",
			b.patch(api.AdminPeerPath(nobody), token, api.PeerChange{Name: "x"}, "If-Match", "*"),
			api.CodePeerNotFound,
		)

		// The peer keeps the name when it registers again with its own.
		again := as[api.RegisterResult](t, b.post(api.PathPeers, "", b.registration(p.key, "peer 1")), http.StatusOK)
		if again.Name != "third" {
			t.Errorf("registered again as %q", again.Name)
		}
	})
}

func TestRevokedPeerLosesAccess(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		var revoked []ident.PeerID
		b := newBench(t, store, func(rc *services.Config, _ *httpapi.Config) {
			rc.OnRevoked = func(id ident.PeerID, _ time.Time) { revoked = append(revoked, id) }
		})
		token := b.admin(api.ScopePeers)
		gone, friend := b.join(1), b.join(2)
		as[api.Allowance](t, b.put(api.AllowedPath(friend.id), gone.token, nil), http.StatusOK)
		as[api.Allowance](t, b.put(api.AllowedPath(gone.id), friend.token, nil), http.StatusOK)
		box := as[api.Mailbox](t, b.post(api.PathMailboxes, gone.token, nil), http.StatusCreated)
		revoke := func(version string) answer {
			return b.do(http.MethodDelete, api.AdminPeerPath(gone.id), token, nil, "If-Match", version)
		}

		refused(t, "at another version",
			revoke(`"7"`), api.CodeChanged)
		if a := revoke(`"1"`); a.status != http.StatusNoContent {
			t.Fatalf("revoke: %d %s", a.status, a.body)
		}
		if len(revoked) != 1 || revoked[0] != gone.id {
			t.Errorf("OnRevoked was called for %v", revoked)
		}
		if a := revoke(`"1"`); a.status != http.StatusNoContent ||
			len(revoked) != 1 {
			t.Errorf("revoke again: %d %s, OnRevoked was called for %v", a.status, a.body, revoked)
		}
		refused(t, "an unknown peer", b.delete(api.AdminPeerPath(newKey(t, 9).ID()), token), api.CodePeerNotFound)
		refused(t, "its token", b.get(api.PathPeers+"/self", gone.token), api.CodeUnauthenticated)
		refused(t, "its relay", b.post(api.PathRelay, gone.token, nil), api.CodeUnauthenticated)
		refused(t, "its mailbox", b.try(friend, box.Address, "x"), api.CodeMailboxNotFound)
		refused(t, "its record", b.get(api.PeerPath(gone.id), friend.token), api.CodePeerNotFound)
		if list := as[api.Allowances](t, b.get(api.PathAllowed, friend.token), http.StatusOK); len(
			list.Allowed,
		) != 0 {
			t.Errorf("the other peer still allows %+v", list)
		}
		back := func() answer {
			return b.post(api.PathPeers, "", b.registration(gone.key, "peer 1"))
		}
		refused(t, "registering again", back(), api.CodeRevoked)

		list := as[api.Revocations](t, b.get(api.PathRevocations+"?limit=1", token), http.StatusOK)
		if len(list.Revocations) != 1 ||
			list.Revocations[0] != (api.Revocation{Peer: gone.id, Name: "peer 1", At: b.clock.Now().UTC()}) ||
			list.Next != "" {
			t.Errorf("revocations %+v", list)
		}
		if a := b.delete(api.RevocationPath(gone.id), token); a.status != http.StatusNoContent {
			t.Fatalf("readmit: %d %s", a.status, a.body)
		}
		refused(t, "readmit again", b.delete(api.RevocationPath(gone.id), token), api.CodePeerNotFound)
		as[api.RegisterResult](t, back(), http.StatusCreated)
	})
}
