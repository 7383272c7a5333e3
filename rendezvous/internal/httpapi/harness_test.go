//go:build unix

package httpapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

// onBothStores runs a test on SQLite and on Postgres.
func onBothStores(t *testing.T, test func(t *testing.T, store *database.Database)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite(t)) })
	t.Run("postgres", func(t *testing.T) {
		test(t, open(t, database.Location{URL: pgtest.Shared(t).Fresh(t)}))
	})
}

func sqlite(t *testing.T) *database.Database {
	t.Helper()
	return open(t, database.Location{Dir: t.TempDir()})
}

func open(t *testing.T, l database.Location) *database.Database {
	t.Helper()
	db, err := database.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, db)
	return db
}

func closeAfter(t *testing.T, c io.Closer) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// clock is a clock that stands still until a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is the REST interface of a rendezvous on a real TLS listener.
type bench struct {
	t        *testing.T
	server   *httptest.Server
	client   *http.Client
	services *services.Services
	clock    *clock
	document openAPI

	mu     sync.Mutex
	online map[ident.PeerID]bool // guarded by mu
}

func (b *bench) Online(_ context.Context, id ident.PeerID) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.online[id], nil
}

func (b *bench) Credentials(_ context.Context, id ident.PeerID) (api.RelayCredentials, error) {
	return api.RelayCredentials{
		Username: "for " + id.String(),
		Password: "secret",
		URIs:     []string{"turn:relay.example:3478"},
		Expires:  b.clock.Now(),
	}, nil
}

func newBench(t *testing.T, store *database.Database, change func(*services.Config, *httpapi.Config)) *bench {
	t.Helper()
	b := &bench{t: t, clock: &clock{now: time.Now().Truncate(time.Millisecond)}, online: map[ident.PeerID]bool{}}
	many := httpapi.Limit{PerMinute: 60_000, Burst: 10_000}
	rc := services.Config{Database: store, Open: true, Now: b.clock.Now, PollInterval: 5 * time.Millisecond}
	hc := httpapi.Config{
		Presence: b, Relay: b, Now: b.clock.Now,
		Server: api.Server{Name: "test", Version: "1.2.3", STUN: []string{"stun:rv.example:3478"}},
		Limits: httpapi.Limits{
			Challenges:    many,
			Registrations: many,
			NewPeers:      many,
			Tries:         many,
			Admin:         many,
			Tokens:        many,
			Peer:          many,
		},
	}
	if change != nil {
		change(&rc, &hc)
	}
	var err error
	if b.services, err = services.New(rc); err != nil {
		t.Fatal(err)
	}
	hc.Resources = resources(b.services, store)
	handler, err := httpapi.New(hc)
	if err != nil {
		t.Fatal(err)
	}
	b.server = httptest.NewTLSServer(handler)
	b.client = b.server.Client()
	t.Cleanup(func() {
		b.client.CloseIdleConnections()
		b.server.Close()
	})
	if err := json.Unmarshal(b.get(api.PathOpenAPI, "").body, &b.document); err != nil {
		t.Fatal(err)
	}
	return b
}

// resources returns the services that the interface needs.
func resources(s *services.Services, db *database.Database) httpapi.Resources {
	return httpapi.Resources{
		Registration: s.Registration, PeerTokens: s.Directory, AdminTokens: s.Administration, Peers: s.Directory,
		Allowances: s.AllowList, Mailboxes: s.Mailboxes, Tries: s.Mailboxes, PeerAdmin: s.Directory,
		Revocations: s.Revocations, Approvals: s.Approvals, JoinRequests: s.JoinRequests, Invites: s.Invites,
		Tokens: s.Administration, Audit: s.Audit, Refusals: s.Audit, Instances: s.Instances, Pairs: s.Links,
		History: s.History, Database: db,
	}
}

// admin creates an administrator's token.
func (b *bench) admin(scopes ...api.Scope) string {
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
	body   []byte
}

// do sends a request. It sends in as JSON, or unchanged if it is bytes. headers are names
// and values.
func (b *bench) do(method, path, token string, in any, headers ...string) answer {
	b.t.Helper()
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(in)
	default:
		raw, err := json.Marshal(in)
		if err != nil {
			b.t.Fatal(err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return b.send(req)
}

func (b *bench) get(path, token string) answer { return b.do(http.MethodGet, path, token, nil) }

func (b *bench) delete(path, token string) answer { return b.do(http.MethodDelete, path, token, nil) }

func (b *bench) post(path, token string, in any, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, path, token, in, headers...)
}

func (b *bench) put(path, token string, in any) answer { return b.do(http.MethodPut, path, token, in) }

func (b *bench) patch(path, token string, in any, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPatch, path, token, in, headers...)
}

func (b *bench) send(req *http.Request) answer {
	b.t.Helper()
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, raw}
	b.document.check(b.t, req, a)
	return a
}

// as checks the status of an answer and decodes its body.
func as[T any](t *testing.T, a answer, status int) T {
	t.Helper()
	var out T
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return out
}

// refused checks that an answer is the problem of a code.
func refused(t *testing.T, what string, a answer, code api.Code) *api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Errorf("%s: status %d, not a problem: %q", what, a.status, a.body)
		return &p
	}
	want := api.NewProblem(code)
	if !errors.Is(&p, want) || a.status != want.Status || p.Status != want.Status ||
		a.header.Get("Content-Type") != api.ContentType {
		t.Errorf("%s: status %d, %s: %s; want %s", what, a.status, a.header.Get("Content-Type"), a.body, code)
	}
	temporary := a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable
	if later := a.header.Get("Retry-After"); (later != "") != temporary {
		t.Errorf("%s: status %d with Retry-After %q", what, a.status, later)
	}
	return &p
}

// peer is a registered peer.
type peer struct {
	key   ident.Key
	id    ident.PeerID
	token string
}

func newKey(t *testing.T, n int) ident.Key {
	t.Helper()
	seed := sha256.Sum256(fmt.Appendf(nil, "peer %d", n))
	key, err := ident.KeyFromSeed(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (b *bench) challenge() api.Challenge {
	b.t.Helper()
	return as[api.Challenge](b.t, b.post(api.PathChallenges, "", nil), http.StatusCreated)
}

// registration returns a valid, unbound registration.
func (b *bench) registration(key ident.Key, name string) api.Registration {
	b.t.Helper()
	c := b.challenge()
	r := api.Registration{Challenge: c.Challenge, Name: name, Expires: c.Expires}
	r.Sign(key, nil)
	return r
}

// join registers the nth peer.
func (b *bench) join(n int) peer {
	b.t.Helper()
	key := newKey(b.t, n)
	r := as[api.RegisterResult](b.t, b.post(api.PathPeers, "", b.registration(key, fmt.Sprint("peer ", n))),
		http.StatusCreated)
	if r.ID != key.ID() {
		b.t.Fatalf("registered as %v, want %v", r.ID, key.ID())
	}
	return peer{key, r.ID, r.Token}
}

// exporterOf returns the exporter of a TLS connection.
func exporterOf(t *testing.T, s *tls.ConnectionState) []byte {
	t.Helper()
	e, err := api.Exporter(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
