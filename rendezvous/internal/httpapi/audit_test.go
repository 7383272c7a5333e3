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
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (b *bench) events(token, query string) []api.Event {
	b.t.Helper()
	return as[api.Events](b.t, b.do(http.MethodGet, api.PathAudit+query, token, nil), http.StatusOK).Events
}

// TestEverythingIsInTheAuditLog does each thing that the log tells of, and looks
// for the secrets of all of them in it.
func TestEverythingIsInTheAuditLog(t *testing.T) {
	onBothStores(t, func(t *testing.T, store registry.Store) {
		b := newBench(t, store, func(rc *registry.Config, _ *httpapi.Config) { rc.Open = false })
		root := b.admin(api.ScopeAdmin)
		token := as[api.AdminToken](t, b.do(http.MethodPost, api.PathTokens, root, api.AdminTokenRequest{Label: "Ada", Scopes: api.Scopes}), http.StatusCreated)
		invite := as[api.Invite](t, b.do(http.MethodPost, api.PathInvites, token.Token, api.InviteRequest{Label: "cellar"}), http.StatusCreated)
		join := func(n int, code string) answer {
			r := b.registration(newKey(t, n), "machine")
			r.Invite = code
			return b.do(http.MethodPost, api.PathPeers, "", r)
		}
		owner := as[api.RegisterResult](t, join(1, invite.Code), http.StatusCreated)
		other := as[api.RegisterResult](t, join(2, invite.Code), http.StatusCreated)
		refused(t, "without an invite", join(3, ""), api.CodeInviteNeeded)
		refused(t, "a wrong token", b.do(http.MethodGet, api.PathTokens, token.Token[:20]+"AAAA"+token.Token[24:], nil), api.CodeUnauthenticated)

		box := as[api.Mailbox](t, b.do(http.MethodPost, api.PathMailboxes, owner.Token, nil), http.StatusCreated)
		try := as[api.Try](t, b.do(http.MethodPost, api.TriesPath(box.Address), other.Token, api.Message{Body: []byte("a secret opening")}), http.StatusCreated)
		b.do(http.MethodPut, api.AnswerPath(box.Address, try.Number), owner.Token, api.Message{Body: []byte("a secret answer")})
		for range 2 {
			if a := b.do(http.MethodPut, api.ConfirmationPath(box.Address, try.Number), other.Token, api.Message{Body: []byte("a secret end")}); a.status != http.StatusNoContent {
				t.Fatalf("confirm: %d %s", a.status, a.body)
			}
		}
		for _, step := range []answer{
			b.do(http.MethodPatch, api.AdminPeerPath(other.ID), token.Token, api.PeerChange{Name: "lost"}, "If-Match", "*"),
			b.do(http.MethodDelete, api.AdminPeerPath(other.ID), token.Token, nil),
			b.do(http.MethodDelete, api.RevocationPath(other.ID), token.Token, nil),
			b.do(http.MethodDelete, api.InvitePath(invite.ID), token.Token, nil),
			b.do(http.MethodDelete, api.TokenPath(token.ID), root, nil),
		} {
			if step.status/100 != 2 {
				t.Fatalf("status %d: %s", step.status, step.body)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.registry.Run(ctx); err != nil { // keeps what was refused
			t.Fatal(err)
		}

		all := b.events(root, "?limit=100")
		var kinds []string
		for _, e := range slices.Backward(all) {
			if e.Kind != string(registry.EventRefused) {
				kinds = append(kinds, e.Kind)
			}
		}
		want := []string{"token_created", "token_created", "invite_created", "registered", "registered", "paired", "peer_renamed", "peer_revoked", "peer_readmitted", "invite_revoked", "token_revoked"}
		if !slices.Equal(kinds, want) {
			t.Errorf("events %v, want %v", kinds, want)
		}
		raw, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{root, token.Token, token.Token[16:], invite.Code, owner.Token, other.Token, string(box.Address), "secret"} {
			if strings.Contains(string(raw), secret) {
				t.Errorf("the log holds %q", secret)
			}
		}

		paired := b.events(root, "?kind=paired")
		if len(paired) != 1 || paired[0].Peer != other.ID || paired[0].Other != owner.ID || paired[0].Actor != "peer" || paired[0].Source != "127.0.0.1" {
			t.Errorf("paired %+v", paired)
		}
		for _, e := range b.events(root, "?kind=registered") {
			if e.Actor != "peer" || e.Source != "127.0.0.1" {
				t.Errorf("registered by %q from %q, and it has proved its key", e.Actor, e.Source)
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
		if want := []string{"administer: the token is not good", "register: a new peer needs an invite"}; !slices.Equal(details, want) {
			t.Errorf("refused %q", details)
		}

		first := as[api.Events](t, b.do(http.MethodGet, api.PathAudit+"?limit=4", root, nil), http.StatusOK)
		second := as[api.Events](t, b.do(http.MethodGet, api.PathAudit+"?limit=100&after="+first.Next, root, nil), http.StatusOK)
		if paged := append(first.Events, second.Events...); !slices.Equal(paged, all) || len(first.Events) != 4 || second.Next != "" {
			t.Errorf("pages %+v and %+v", first, second)
		}
		refused(t, "an unknown kind", b.do(http.MethodGet, api.PathAudit+"?kind=x", root, nil), api.CodeInvalid)
		refused(t, "no peer", b.do(http.MethodGet, api.PathAudit+"?peer=x", root, nil), api.CodeInvalid)
		refused(t, "no cursor", b.do(http.MethodGet, api.PathAudit+"?after=-1", root, nil), api.CodeInvalid)
	})
}

func TestEventKindsAreDocumented(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	var doc openAPI
	if err := json.Unmarshal(b.do(http.MethodGet, api.PathOpenAPI, "", nil).body, &doc); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, kind := range registry.EventKinds {
		want = append(want, string(kind))
	}
	if got := doc.Components.Schemas["Event"].Properties["kind"].Enum; !slices.Equal(got, want) {
		t.Errorf("documented %v, want %v", got, want)
	}
}
