package web_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/web"
)

// attempts is a limit on attempts that a test controls.
type attempts struct {
	failed atomic.Int64
	wait   atomic.Int64
}

func (a *attempts) Wait(context.Context) time.Duration { return time.Duration(a.wait.Load()) }
func (a *attempts) Failed(context.Context)             { a.failed.Add(1) }

// bench serves the pages on a real TLS listener.
type bench struct {
	t        *testing.T
	server   *httptest.Server
	database *database.Database
	services *services.Services
	attempts attempts
}

const publicOrigin = "https://rendezvous.example.org"

func newBench(t *testing.T) *bench {
	t.Helper()
	store, err := database.Open(t.Context(), database.Location{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, database: store}
	if b.services, err = services.New(services.Config{Database: store}); err != nil {
		t.Fatal(err)
	}
	pages, err := web.New(web.Config{
		Resources: web.Resources{
			SignIns: b.services.Administration, Membership: b.services.Registration, Peers: b.services.Directory,
			Revocations: b.services.Revocations, Approvals: b.services.Approvals, JoinRequests: b.services.JoinRequests,
			Invites: b.services.Invites, Tokens: b.services.Administration, Audit: b.services.Audit,
			Instances: b.services.Instances, Pairs: b.services.Links, History: b.services.History,
		},
		Attempts: &b.attempts, Server: api.Server{Name: "test"}, Origin: publicOrigin + ":443",
		JoinLink: func(code string) string { return publicOrigin + "/#invite=" + code },
		Interval: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.server = httptest.NewTLSServer(pages)
	t.Cleanup(func() {
		b.server.Client().CloseIdleConnections()
		b.server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b.server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return b
}

// token creates an administrator's token.
func (b *bench) token(scopes ...api.Scope) string {
	b.t.Helper()
	set, err := administration.ScopesOf(scopes)
	if err != nil {
		b.t.Fatal(err)
	}
	spec := administration.TokenSpec{Label: "test", Scopes: set}
	token, _, err := b.services.Administration.CreateToken(b.t.Context(), spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// answer is an HTTP response.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request like those of the pages' own scripts and forms. headers are names and
// values that replace the usual ones; the value "" removes a header.
func (b *bench) do(method, path string, cookies []*http.Cookie, form url.Values, headers ...string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.server.URL)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if req.Header.Del(headers[i]); headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	resp, err := b.server.Client().Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func (b *bench) get(path string, cookies []*http.Cookie, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, cookies, nil, headers...)
}

func (b *bench) post(path string, cookies []*http.Cookie, form url.Values, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, path, cookies, form, headers...)
}

// signIn signs in and returns the cookies.
func (b *bench) signIn(secret string) []*http.Cookie {
	b.t.Helper()
	a := b.post("/admin/sign-in", nil, url.Values{"secret": {secret}})
	if a.status != http.StatusSeeOther {
		b.t.Fatalf("sign in: %d %s", a.status, a.body)
	}
	return (&http.Response{Header: a.header}).Cookies()
}

func (b *bench) events() []audit.Event {
	b.t.Helper()
	all, err := b.services.Audit.Events(b.t.Context(), audit.Query{Limit: 1000})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}
