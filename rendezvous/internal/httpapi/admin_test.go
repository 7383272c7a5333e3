//go:build unix

package httpapi_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func TestAdminLinkWorksOnce(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		code, err := b.services.Administration.AdminLink(t.Context(), "", false)
		if err != nil || code == "" {
			t.Fatalf("link %q: %v", code, err)
		}
		if again, err := b.services.Administration.AdminLink(t.Context(), "", false); err != nil || again != "" {
			t.Errorf("a second link although one is unused: %q, %v", again, err)
		}
		if kept, err := b.services.Administration.AdminLink(t.Context(), code, false); err != nil || kept != code {
			t.Errorf("the unused link: %q, %v", kept, err)
		}
		use := func(code string) answer {
			return b.post(api.PathAdminLink, "", api.AdminLinkUse{Code: code, Label: "Ada"})
		}
		refused(t, "unknown", use("unknown"), api.CodeAdminLink)
		first := as[api.AdminToken](t, use(code), http.StatusCreated)
		if first.Label != "Ada" || !slices.Equal(first.Scopes, api.Scopes) ||
			!first.Expires.Equal(b.clock.Now().Add(api.MaxTokenTTL)) {
			t.Errorf("token %+v", first)
		}
		if made := b.events(first.Token, "?kind=token_created"); len(made) != 1 ||
			made[0].Actor != "admin "+first.ID {
			t.Errorf("the audit log has %+v", made)
		}
		refused(t, "used", use(code), api.CodeAdminLink)
		if kept, err := b.services.Administration.AdminLink(t.Context(), code, false); err != nil || kept != "" {
			t.Errorf("the used link: %q, %v", kept, err)
		}
		self := as[api.AdminToken](t, b.get(api.TokenPath("self"), first.Token), http.StatusOK)
		if self.ID != first.ID || self.Token != "" {
			t.Errorf("self is %+v", self)
		}

		late, err := b.services.Administration.AdminLink(t.Context(), "", true)
		if err != nil || late == "" {
			t.Fatalf("link %q: %v", late, err)
		}
		b.clock.Move(24 * time.Hour)
		refused(t, "expired", use(late), api.CodeAdminLink)
	})
}

func TestAdminTokensAreListedAndRevoked(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		root := b.admin(api.ScopeAdmin)
		made := map[string]api.AdminToken{}
		for range 4 {
			b.clock.Move(time.Millisecond)
			tok := as[api.AdminToken](t, b.post(
				api.PathTokens,
				root,
				api.AdminTokenRequest{
					Label:   "helpdesk",
					Scopes:  []api.Scope{api.ScopePeers, api.ScopeInvites},
					Seconds: 3600,
				},
			), http.StatusCreated)
			made[tok.ID] = tok
		}
		var listed []api.AdminToken
		next := ""
		for pages := 1; ; pages++ {
			page := as[api.AdminTokens](t, b.get(api.PathTokens+"?limit=2&after="+next, root), http.StatusOK)
			listed = append(listed, page.Tokens...)
			if next = page.Next; next == "" {
				if pages != 3 {
					t.Errorf("%d pages", pages)
				}
				break
			}
		}
		if len(listed) != 5 {
			t.Fatalf("listed %+v", listed)
		}
		for _, l := range listed[1:] {
			want := made[l.ID]
			want.Token = ""
			if l.Label != want.Label || l.Token != "" || !l.Expires.Equal(want.Expires) ||
				!slices.Equal(l.Scopes, want.Scopes) {
				t.Errorf("listed %+v, want %+v", l, want)
			}
		}

		one := made[listed[1].ID]
		as[api.AdminToken](t, b.get(api.TokenPath("self"), one.Token), http.StatusOK)
		as[api.AdminToken](t, b.get(api.TokenPath(one.ID), one.Token), http.StatusOK)
		refused(t, "another token's record", b.get(api.TokenPath(listed[2].ID), one.Token), api.CodeScope)
		for range 2 {
			if a := b.delete(api.TokenPath(one.ID), root); a.status != http.StatusNoContent {
				t.Errorf("revoke: %d %s", a.status, a.body)
			}
		}
		refused(t, "revoked", b.get(api.TokenPath("self"), one.Token), api.CodeUnauthenticated)
		if got := as[api.AdminToken](t, b.get(api.TokenPath(one.ID), root), http.StatusOK); !got.Revoked {
			t.Errorf("after its revocation: %+v", got)
		}
		b.clock.Move(time.Hour)
		refused(t, "expired", b.get(api.TokenPath("self"), made[listed[2].ID].Token), api.CodeUnauthenticated)
		refused(t, "an unknown token", b.delete(api.TokenPath("0123456789abcdef"), root), api.CodeTokenNotFound)
		refused(t, "a bad ID", b.delete(api.TokenPath("x"), root), api.CodeInvalid)
		refused(t, "a bad cursor", b.get(api.PathTokens+"?after=x", root), api.CodeInvalid)
		refused(t, "a page too large", b.get(api.PathTokens+"?limit=101", root), api.CodeInvalid)
	})
}

// TestScopesAreKeptApart tries every operation for administrators with every token
// that does not cover it.
func TestScopesAreKeptApart(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	peer := b.join(1).token
	tokens := map[api.Scope]string{}
	for _, s := range api.Scopes {
		tokens[s] = b.admin(s)
	}
	for _, r := range api.Routes {
		if r.Auth != api.AuthAdmin {
			continue
		}
		what := r.Method + " " + r.Path
		refused(t, what+" without a token", b.do(r.Method, r.Path, "", nil), api.CodeUnauthenticated)
		refused(t, what+" as a peer", b.do(r.Method, r.Path, peer, nil), api.CodeAdmin)
		for s, token := range tokens {
			if r.Scope != "" && s != r.Scope && s != api.ScopeAdmin {
				refused(t, what+" as "+string(s), b.do(r.Method, r.Path, token, nil), api.CodeScope)
			}
		}
	}
	for _, path := range []string{api.PathPeers + "/self", api.PathAllowed} {
		refused(t, path+" as an administrator", b.get(path, tokens[api.ScopeAdmin]), api.CodeUnauthenticated)
	}
}

func TestTokenRequestsAreRepeatable(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, nil)
		root := b.admin(api.ScopeAdmin)
		create := func(by, key string, r api.AdminTokenRequest) answer {
			return b.post(api.PathTokens, by, r, "Idempotency-Key", key)
		}
		spec := api.AdminTokenRequest{Label: "cellar", Scopes: []api.Scope{api.ScopePeers}, Seconds: 60}
		first := as[api.AdminToken](t, create(root, "key", spec), http.StatusCreated)
		b.clock.Move(time.Second)
		twin := newBench(t, store, nil) // another instance
		again := as[api.AdminToken](t, twin.post(api.PathTokens, root, spec, "Idempotency-Key", "key"),
			http.StatusCreated)
		if again.Token != first.Token || again.ID != first.ID || !again.Expires.Equal(first.Expires) {
			t.Errorf("again %+v, first %+v", again, first)
		}
		other := as[api.AdminToken](t, create(root, "another key", spec), http.StatusCreated)
		anothers := as[api.AdminToken](t, create(b.admin(api.ScopeAdmin), "key", spec), http.StatusCreated)
		if other.Token == first.Token || anothers.Token == first.Token {
			t.Error("another key or another administrator gets the same token")
		}
		spec.Scopes = api.Scopes
		refused(t, "the key with another request", create(root, "key", spec), api.CodeIdempotency)
		refused(t, "a long key", create(root, strings.Repeat("k", 65), spec), api.CodeInvalid)
	})
}

func TestBadTokenRequestsAreRefused(t *testing.T) {
	b := newBench(t, sqlite(t), nil)
	root := b.admin(api.ScopeAdmin)
	for name, body := range map[string]string{
		"no scope":                  `{"scopes":[]}`,
		"an unknown scope":          `{"scopes":["everything"]}`,
		"a long label":              `{"scopes":["peers"],"label":"` + strings.Repeat("x", 129) + `"}`,
		"a label with a line break": `{"scopes":["peers"],"label":"a\nb"}`,
		"a long lifetime":           `{"scopes":["peers"],"seconds":31536001}`,
		"an unknown field":          `{"scopes":["peers"],"admin":true}`,
	} {
		refused(t, name, b.post(api.PathTokens, root, []byte(body)), api.CodeInvalid)
	}
}

func TestFailedAdministratorsAreLimited(t *testing.T) {
	b := newBench(t, sqlite(t), func(_ *services.Config, hc *httpapi.Config) {
		hc.Limits.Admin = httpapi.Limit{PerMinute: 6, Burst: 2}
	})
	good := b.admin(api.ScopeAdmin)
	ask := func(token string) answer { return b.get(api.TokenPath("self"), token) }
	for range 5 {
		as[api.AdminToken](t, ask(good), http.StatusOK)
	}
	for range 2 {
		refused(t, "a guess", ask("efa_"+strings.Repeat("A", 54)), api.CodeUnauthenticated)
	}
	a := ask(good)
	refused(t, "after too many failures", a, api.CodeRateLimited)
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 10 || after > 25 {
		t.Errorf("Retry-After %q, want 10 to 25 seconds", a.header.Get("Retry-After"))
	}
	b.clock.Move(10 * time.Second)
	as[api.AdminToken](t, ask(good), http.StatusOK)
}

// TestNothingOfAdministratorsIsEchoed sends a secret in every place that an
// administrator can fill in wrongly. No answer may contain it.
func TestNothingOfAdministratorsIsEchoed(t *testing.T) {
	const secret = "hunter2hunter2"
	b := newBench(t, sqlite(t), nil)
	p, root := b.join(1), b.admin(api.ScopeAdmin)
	for name, c := range map[string]struct {
		method, path, body string
		header, value      string
		code               api.Code
	}{
		"a link": {
			http.MethodPost, api.PathAdminLink, `{"code":"` + secret + `"}`, "", "",
			api.CodeAdminLink,
		},
		"a long link": {
			http.MethodPost, api.PathAdminLink, `{"code":"` + strings.Repeat(secret, 9) + `"}`, "", "",
			api.CodeInvalid,
		},
		"a scope": {
			http.MethodPost, api.PathTokens, `{"scopes":["` + secret + `"]}`, "", "",
			api.CodeInvalid,
		},
		"a label": {
			http.MethodPost, api.PathTokens, `{"scopes":["peers"],"label":"` + secret + `\n"}`, "", "",
			api.CodeInvalid,
		},
		"an Idempotency-Key": {
			http.MethodPost, api.PathInvites, `{}`, "Idempotency-Key", strings.Repeat(secret, 9),
			api.CodeInvalid,
		},
		"a token's ID": {http.MethodGet, api.TokenPath(secret), "", "", "", api.CodeInvalid},
		"a long ID":    {http.MethodGet, api.InvitePath(strings.Repeat(secret, 9)), "", "", "", api.CodeInvalid},
		"a version": {
			http.MethodPatch, api.AdminPeerPath(p.id), `{"name":"x"}`, "If-Match", secret,
			api.CodeInvalid,
		},
		"a cursor": {http.MethodGet, api.PathAudit + "?after=" + secret, "", "", "", api.CodeInvalid},
		"a kind":   {http.MethodGet, api.PathAudit + "?kind=" + secret, "", "", "", api.CodeInvalid},
		"a limit":  {http.MethodGet, api.PathAdminPeers + "?limit=" + secret, "", "", "", api.CodeInvalid},
		"a field":  {http.MethodPost, api.PathInvites, `{"code":"` + secret + `"}`, "", "", api.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			var body any
			if c.body != "" {
				body = []byte(c.body)
			}
			var headers []string
			if c.header != "" {
				headers = []string{c.header, c.value}
			}
			a := b.do(c.method, c.path, root, body, headers...)
			refused(t, name, a, c.code)
			if strings.Contains(string(a.body), secret) {
				t.Errorf("the answer contains the secret: %s", a.body)
			}
		})
	}
}
