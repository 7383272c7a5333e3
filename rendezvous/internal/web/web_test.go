package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSignInCookieIsHiddenFromScriptsAndOtherSites(t *testing.T) {
	b := newBench(t)
	token := b.token(api.ScopeAdmin)
	cookies := b.signIn(token)
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	c := cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode ||
		c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	if left := time.Until(c.Expires); left > administration.SignInTTL || left < administration.SignInTTL-time.Minute {
		t.Errorf("it is valid for %v", left)
	}
	if strings.Contains(c.Value, token) || strings.Contains(token, strings.TrimPrefix(c.Value, "efs_")) {
		t.Error("the cookie contains the token")
	}
	for name, other := range map[string]string{
		"the cookie as a token":            c.Value,
		"the cookie with a token's prefix": "efa_" + strings.TrimPrefix(c.Value, "efs_"),
	} {
		if a := b.post("/admin/sign-in", nil, url.Values{"secret": {other}}); a.status != http.StatusForbidden {
			t.Errorf("%s signs in: %d", name, a.status)
		}
	}
	if a := b.get("/admin", []*http.Cookie{{Name: c.Name, Value: token}}); a.status != http.StatusSeeOther {
		t.Errorf("a token is accepted as a cookie: %d", a.status)
	}
}

func TestSignInsEnd(t *testing.T) {
	b := newBench(t)
	token := b.token(api.ScopeAdmin)
	id, err := b.services.Administration.AuthenticateAdmin(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	first, second := b.signIn(token), b.signIn(token)
	in := func(cookies []*http.Cookie) bool {
		return b.get("/admin", cookies).status == http.StatusOK
	}
	if !in(first) || !in(second) {
		t.Fatal("not signed in")
	}
	a := b.post("/admin/sign-out", first, nil)
	if a.status != http.StatusSeeOther || !strings.Contains(a.header.Get("Set-Cookie"), "1970") {
		t.Errorf("sign out: %d %v", a.status, a.header)
	}
	if in(first) || !in(second) {
		t.Error("signing out does not end the sign-in, or ends another one")
	}
	if err := b.services.Administration.RevokeToken(t.Context(), id.ID); err != nil {
		t.Fatal(err)
	}
	if in(second) {
		t.Error("the sign-in outlives its token")
	}
}

// TestForgedRequestsAreRefused sends every request that changes something from other places
// than the pages themselves.
func TestForgedRequestsAreRefused(t *testing.T) {
	b := newBench(t)
	cookies := b.signIn(b.token(api.ScopeAdmin))
	link, err := b.services.Administration.AdminLink(t.Context(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	before := len(b.events())
	id := ident.PeerID{1}.String()
	host := strings.TrimPrefix(b.server.URL, "https://")
	for name, headers := range map[string][]string{
		"no headers":               {"Origin", "", "Sec-Fetch-Site", ""},
		"no origin":                {"Origin", ""},
		"an opaque origin":         {"Origin", "null"},
		"another site":             {"Origin", "https://evil.example"},
		"another port":             {"Origin", "https://127.0.0.1:1"},
		"an HTTP origin":           {"Origin", "http://" + host},
		"a longer host name":       {"Origin", b.server.URL + ".evil.example"},
		"marked as cross-site":     {"Sec-Fetch-Site", "cross-site"},
		"marked as same-site":      {"Sec-Fetch-Site", "same-site"},
		"marked as user-initiated": {"Sec-Fetch-Site", "none"},
		"another host":             {"Origin", "https://evil.example", "Host", "evil.example"},
	} {
		for _, path := range []string{
			"/admin/sign-in", "/admin/sign-out", "/admin/peers/" + id, "/admin/peers/" + id + "/revoke",
			"/admin/revoked/" + id,
			"/admin/invites", "/admin/invites/0000000000000000/revoke", "/admin/approvals", "/admin/approvals/" + id,
			"/admin/access", "/admin/access/0000000000000000", "/admin", "/admin/none",
		} {
			form := url.Values{
				"secret": {link}, "name": {"forged"}, "peer": {id}, "label": {"forged"}, "scopes": {"admin"},
			}
			a := b.post(path, cookies, form, headers...)
			if a.status != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
				t.Errorf("%s, POST %s: %d", name, path, a.status)
			}
		}
	}
	if after := len(b.events()); after != before {
		t.Errorf("%d events were caused by forged requests", after-before)
	}
	if a := b.get("/admin", cookies); a.status != http.StatusOK {
		t.Error("a forged request has ended the sign-in")
	}
	// Behind a proxy that changes the Host header, the public origin is accepted.
	a := b.post("/admin/sign-in", nil, url.Values{"secret": {link}}, "Origin", publicOrigin)
	if a.status != http.StatusSeeOther {
		t.Errorf("from the public origin: %d %s", a.status, a.body)
	}
	// Older browsers send Origin, but not Sec-Fetch-Site.
	for _, origin := range []string{publicOrigin, b.server.URL} {
		form := url.Values{"secret": {b.token(api.ScopeAdmin)}}
		a := b.post("/admin/sign-in", nil, form, "Origin", origin, "Sec-Fetch-Site", "")
		if a.status != http.StatusSeeOther {
			t.Errorf("from %s without Sec-Fetch-Site: %d %s", origin, a.status, a.body)
		}
	}
}

func TestOtherMethodsChangeNothing(t *testing.T) {
	b := newBench(t)
	cookies := b.signIn(b.token(api.ScopeAdmin))
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} {
		for _, path := range []string{"/admin", "/admin/sign-in", "/admin/sign-out", "/admin/peers"} {
			if a := b.do(method, path, cookies, nil, "Origin", b.server.URL); a.status/100 == 2 || a.status/100 == 3 {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
	for _, path := range []string{"/admin/sign-out", "/admin/sign-in?secret=x"} {
		b.get(path, cookies)
	}
	if a := b.get("/admin", cookies); a.status != http.StatusOK {
		t.Errorf("a GET request has ended the sign-in: %d", a.status)
	}
}

func TestEveryAnswerHasSecurityHeaders(t *testing.T) {
	b := newBench(t)
	cookies := b.signIn(b.token(api.ScopeAdmin))
	for path, cookies := range map[string][]*http.Cookie{
		"/admin": cookies, "/admin/peers": cookies, "/admin/none": cookies, "/admin/sign-in": nil,
		"/admin/peers/x": cookies, "/admin/static/none": nil, "/": nil,
		"/admin/pairs": cookies, "/admin/relay": cookies, "/admin/invites": cookies, "/admin/approvals": cookies,
		"/admin/instances": cookies, "/admin/audit": cookies, "/admin/access": cookies,
	} {
		a := b.get(path, cookies)
		policy := a.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") ||
			!strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, a.header)
		}
		for _, bad := range []string{"style=", "onclick=", "onload=", "<style", "javascript:", "http://"} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s: the page contains %q", path, bad)
			}
		}
	}
}

func TestFailedSignInsAreLimited(t *testing.T) {
	b := newBench(t)
	try := func(secret string) answer {
		return b.post("/admin/sign-in", nil, url.Values{"secret": {secret}})
	}
	for _, wrong := range []string{
		"", "unknown", "efa_unknown", "ef_unknown", "https://x/#pin=1", "https://x/admin#link=unknown",
		strings.Repeat("x", 10_000),
	} {
		a := try(wrong)
		if a.status/100 != 4 || a.header.Get("Set-Cookie") != "" || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%.20q: %d", wrong, a.status)
		}
		if len(wrong) > 9 && strings.Contains(a.body, wrong) {
			t.Errorf("the answer repeats %.20q", wrong)
		}
	}
	if n := b.attempts.failed.Load(); n != 7 {
		t.Errorf("%d failures counted", n)
	}
	b.attempts.wait.Store(int64(90 * time.Second))
	a := try(b.token(api.ScopeAdmin))
	if a.status != http.StatusTooManyRequests || !strings.Contains(a.body, "Wait 2 minutes") ||
		a.header.Get("Retry-After") != "91" {
		t.Errorf("above the limit: %d %v", a.status, a.header)
	}
	a = b.post("/admin/sign-in", nil, url.Values{"secret": {strings.Repeat("x", 20_000)}})
	if a.status != http.StatusBadRequest {
		t.Errorf("a form that is too long: %d", a.status)
	}
}

// TestLinkThatLooksLikeTokenSignsIn: a code is random, so it may begin like a token.
func TestLinkThatLooksLikeTokenSignsIn(t *testing.T) {
	b := newBench(t)
	links, err := administration.New(administration.Config{
		Store: b.database.Administration, Secrets: registry.NewSecrets(b.database.Secrets, pattern{0x79, 0xf0, 0x00}),
		AuthenticatePeer: b.services.Directory.Authenticate, Refused: b.services.Audit.Refused,
	})
	if err != nil {
		t.Fatal(err)
	}
	code, err := links.AdminLink(t.Context(), "", true)
	if err != nil || !strings.HasPrefix(code, "ef") {
		t.Fatalf("code %q: %v", code, err)
	}
	b.signIn(publicOrigin + "/admin#link=" + code)
}

// pattern is a source of random bytes that repeats itself with each Read.
type pattern []byte

// Read fills out with the pattern.
func (p pattern) Read(out []byte) (int, error) {
	for i := range out {
		out[i] = p[i%len(p)]
	}
	return len(out), nil
}

func TestSignInRedirectsOnlyToPages(t *testing.T) {
	b := newBench(t)
	token := b.token(api.ScopeAdmin)
	for to, want := range map[string]string{
		"/peers?q=a": "/admin/peers?q=a", "": "/admin", "//evil.example": "/admin", "https://evil.example": "/admin",
		`/\evil.example`: "/admin", "evil": "/admin", "javascript:alert(1)": "/admin", "/%": "/admin",
	} {
		a := b.post("/admin/sign-in", nil, url.Values{"secret": {token}, "to": {to}})
		if got := a.header.Get("Location"); got != want {
			t.Errorf("%q leads to %q, want %q", to, got, want)
		}
	}
}

func TestPagesOutsideScopeAreHiddenAndRefused(t *testing.T) {
	b := newBench(t)
	cookies := b.signIn(b.token(api.ScopeInvites))
	if a := b.get("/admin", cookies); a.status != http.StatusOK ||
		strings.Contains(a.body, `href="/admin/peers"`) {
		t.Errorf("overview: status %d, or it has a link to the peers", a.status)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		a := b.do(method, "/admin/peers/"+ident.PeerID{1}.String()+"/revoke", cookies, nil)
		if a.status != http.StatusForbidden || !strings.Contains(a.body, "needs the scope &#34;peers&#34;") {
			t.Errorf("%s: %d", method, a.status)
		}
	}
	if a := b.get("/admin/peers", cookies, "Accept", "text/event-stream"); a.status != http.StatusForbidden {
		t.Errorf("stream: %d", a.status)
	}
}
