//go:build unix

package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func TestInvitesAreListedAndRevoked(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, func(rc *services.Config, _ *httpapi.Config) { rc.Open = false })
		token := b.admin(api.ScopeInvites)
		var made []api.Invite
		for uses := range 3 {
			made = append(
				made,
				as[api.Invite](
					t,
					b.post(api.PathInvites, token, api.InviteRequest{Label: "for the café", Uses: uses}),
					http.StatusCreated,
				),
			)
			b.clock.Move(time.Millisecond)
		}
		join := func(n int, i api.Invite) answer {
			r := b.registration(newKey(t, n), "name")
			r.Invite = i.Code
			return b.post(api.PathPeers, "", r)
		}
		as[api.RegisterResult](t, join(1, made[2]), http.StatusCreated)

		first := as[api.Invites](t, b.get(api.PathInvites+"?limit=2", token), http.StatusOK)
		second := as[api.Invites](t, b.get(api.PathInvites+"?limit=2&after="+first.Next, token), http.StatusOK)
		if len(first.Invites) != 2 || len(second.Invites) != 1 || second.Next != "" {
			t.Fatalf("pages %+v and %+v", first, second)
		}
		for n, got := range append(first.Invites, second.Invites...) {
			want := made[n]
			want.Code = ""
			if n == 2 {
				want.Used = 1
			}
			if got != want {
				t.Errorf("listed %+v, want %+v", got, want)
			}
		}

		for range 2 {
			if a := b.delete(api.InvitePath(made[2].ID), token); a.status != http.StatusNoContent {
				t.Errorf("revoke: %d %s", a.status, a.body)
			}
		}
		if got := as[api.Invite](t, b.get(api.InvitePath(made[2].ID), token), http.StatusOK); !got.Revoked {
			t.Errorf("after its revocation: %+v", got)
		}
		refused(t, "with a revoked invite", join(2, made[2]), api.CodeInvite)
		as[api.RegisterResult](t, join(1, api.Invite{}), http.StatusOK)
		b.clock.Move(24 * time.Hour)
		refused(t, "with an expired invite", join(2, made[0]), api.CodeInvite)
		refused(t, "an unknown invite", b.delete(api.InvitePath("0123456789abcdef"), token), api.CodeInviteNotFound)
		refused(t, "a bad ID", b.get(api.InvitePath(made[0].Code), token), api.CodeInvalid)
	})
}

func TestInviteRequestsAreRepeatable(t *testing.T) {
	b := newBench(t, sqlite(t), func(rc *services.Config, _ *httpapi.Config) { rc.Open = false })
	b.clock.Move(1_234_567 * time.Nanosecond)
	token := b.admin(api.ScopeInvites)
	spec := api.InviteRequest{Label: "once", Uses: 3, Seconds: 60}
	create := func(key string) answer {
		return b.post(api.PathInvites, token, spec, "Idempotency-Key", key)
	}
	first := as[api.Invite](t, create("a key"), http.StatusCreated)
	r := b.registration(newKey(t, 1), "name")
	r.Invite = first.Code
	as[api.RegisterResult](t, b.post(api.PathPeers, "", r), http.StatusCreated)
	b.clock.Move(time.Second)
	again := as[api.Invite](t, create("a key"), http.StatusCreated)
	if first.Used++; again != first {
		t.Errorf("again %+v, first %+v", again, first)
	}
	if other := as[api.Invite](t, create("another key"), http.StatusCreated); other.Code == first.Code {
		t.Error("another key returns the same invite")
	}
	spec.Uses = 4
	refused(t, "the key with another request", create("a key"), api.CodeIdempotency)
	list := as[api.Invites](t, b.get(api.PathInvites, token), http.StatusOK)
	if len(list.Invites) != 2 {
		t.Errorf("invites %+v", list)
	}
}

func TestBadInviteRequestsAreRefused(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	token := b.admin(api.ScopeInvites)
	for name, body := range map[string]string{
		"many uses":                       `{"uses":1000001}`,
		"negative uses":                   `{"uses":-1}`,
		"a long lifetime":                 `{"seconds":31536001}`,
		"a long label":                    `{"label":"` + strings.Repeat("x", 129) + `"}`,
		"a label with control characters": `{"label":"a\u001b[2J"}`,
		"a code chosen by the client":     `{"code":"secret"}`,
	} {
		refused(t, name, b.post(api.PathInvites, token, []byte(body)), api.CodeInvalid)
	}
}
