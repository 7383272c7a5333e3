//go:build unix

package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func (b *bench) events(token, query string) []api.Event {
	b.t.Helper()
	return as[api.Events](b.t, b.get(api.PathAudit+query, token), http.StatusOK).Events
}

// TestAuditLogHasEveryEventAndNoSecret causes an event of each kind, and looks for the
// secrets of all of them in the log.
func TestAuditLogHasEveryEventAndNoSecret(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, func(rc *services.Config, _ *httpapi.Config) { rc.Open = false })
		root := b.admin(api.ScopeAdmin)
		token := as[api.AdminToken](t,
			b.post(api.PathTokens, root, api.AdminTokenRequest{Label: "Ada", Scopes: api.Scopes}), http.StatusCreated)
		invite := as[api.Invite](t, b.post(api.PathInvites, token.Token, api.InviteRequest{Label: "cellar"}),
			http.StatusCreated)
		join := func(n int, code string) answer {
			r := b.registration(newKey(t, n), "machine")
			r.Invite = code
			return b.post(api.PathPeers, "", r)
		}
		owner := as[api.RegisterResult](t, join(1, invite.Code), http.StatusCreated)
		other := as[api.RegisterResult](t, join(2, invite.Code), http.StatusCreated)
		refused(t, "without an invite", join(3, ""), api.CodeInviteNeeded)
		refused(t, "a wrong token", b.get(api.PathTokens, token.Token[:20]+"AAAA"+token.Token[24:]),
			api.CodeUnauthenticated)

		box := as[api.Mailbox](t, b.post(api.PathMailboxes, owner.Token, nil), http.StatusCreated)
		try := as[api.Try](
			t,
			b.post(api.TriesPath(box.Address), other.Token, api.Message{Body: []byte("a secret opening")}),
			http.StatusCreated,
		)
		b.put(api.AnswerPath(box.Address, try.Number), owner.Token, api.Message{Body: []byte("a secret answer")})
		for range 2 {
			confirm := b.put(api.ConfirmationPath(box.Address, try.Number), other.Token, message("a secret end"))
			noContent(t, "confirm", confirm)
		}
		for _, step := range []answer{
			b.patch(api.AdminPeerPath(other.ID), token.Token, api.PeerChange{Name: "lost"}, "If-Match", "*"),
			b.delete(api.AdminPeerPath(other.ID), token.Token),
			b.delete(api.RevocationPath(other.ID), token.Token),
			b.delete(api.InvitePath(invite.ID), token.Token),
			b.delete(api.TokenPath(token.ID), root),
		} {
			if step.status/100 != 2 {
				t.Fatalf("status %d: %s", step.status, step.body)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.services.Run(ctx); err != nil { // stores the refusals
			t.Fatal(err)
		}

		all := b.events(root, "?limit=100")
		var kinds []string
		for _, e := range slices.Backward(all) {
			if e.Kind != string(audit.KindRefused) {
				kinds = append(kinds, e.Kind)
			}
		}
		want := []string{
			"token_created",
			"token_created",
			"invite_created",
			"registered",
			"registered",
			"paired",
			"peer_renamed",
			"peer_revoked",
			"peer_readmitted",
			"invite_revoked",
			"token_revoked",
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("events %v, want %v", kinds, want)
		}
		raw, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{
			root, token.Token, token.Token[16:], invite.Code, owner.Token, other.Token, string(box.Address), "secret",
		} {
			if strings.Contains(string(raw), secret) {
				t.Errorf("the log contains %q", secret)
			}
		}

		paired := b.events(root, "?kind=paired")
		if len(paired) != 1 || paired[0].Peer != other.ID || paired[0].Other != owner.ID ||
			paired[0].Actor != "peer" ||
			paired[0].Source != "127.0.0.1" {
			t.Errorf("paired %+v", paired)
		}
		for _, e := range b.events(root, "?kind=registered") {
			if e.Actor != "peer" || e.Source != "127.0.0.1" {
				t.Errorf("registered by %q from %q, want the peer, which has proved its key", e.Actor, e.Source)
			}
		}
		revoked := b.events(root, "?kind=peer_revoked&peer="+other.ID.String())
		if len(revoked) != 1 || revoked[0].Actor != "admin "+token.ID || revoked[0].Detail != "lost" {
			t.Errorf("revoked %+v", revoked)
		}
		var details []string
		for _, e := range b.events(root, "?kind=refused") {
			details = append(details, e.Detail)
		}
		slices.Sort(details)
		if want := []string{"administer: the token is not good", "register: a new peer needs an invite"}; !slices.Equal(
			details,
			want,
		) {
			t.Errorf("refused %q", details)
		}

		first := as[api.Events](t, b.get(api.PathAudit+"?limit=4", root), http.StatusOK)
		second := as[api.Events](t, b.get(api.PathAudit+"?limit=100&after="+first.Next, root), http.StatusOK)
		if paged := append(first.Events, second.Events...); !slices.Equal(paged, all) || len(first.Events) != 4 ||
			second.Next != "" {
			t.Errorf("pages %+v and %+v", first, second)
		}
		refused(t, "an unknown kind", b.get(api.PathAudit+"?kind=x", root), api.CodeInvalid)
		refused(t, "a bad PeerID", b.get(api.PathAudit+"?peer=x", root), api.CodeInvalid)
		refused(t, "a bad cursor", b.get(api.PathAudit+"?after=-1", root), api.CodeInvalid)
	})
}

func TestEventKindsAreDocumented(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	var doc openAPI
	if err := json.Unmarshal(b.get(api.PathOpenAPI, "").body, &doc); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, kind := range audit.Kinds {
		want = append(want, string(kind))
	}
	if got := doc.Components.Schemas["Event"].Properties["kind"].Enum; !slices.Equal(got, want) {
		t.Errorf("documented %v, want %v", got, want)
	}
}
