package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRegistry(t testing.TB, dir string, change func(*registry.Config)) *registry.Registry {
	t.Helper()
	s, err := sqlitestore.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := registry.Config{Store: s, Open: true}
	if change != nil {
		change(&cfg)
	}
	r, err := registry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func register(t testing.TB, r *registry.Registry, n byte) registry.Registered {
	t.Helper()
	key, err := ident.KeyFromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	challenge, expires, err := r.Challenge(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	reg := api.Registration{Challenge: challenge, Name: "name", Expires: expires}
	reg.Sign(key, nil)
	got, err := r.Register(context.Background(), reg, registry.Channel{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNewWantsAStore(t *testing.T) {
	if _, err := registry.New(registry.Config{}); err == nil {
		t.Error("a registry without a store was made")
	}
}

// TestSecretsAreNotKept looks for what was given out in everything that the
// store has written.
func TestSecretsAreNotKept(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, dir, nil)
	token := register(t, r, 1).Token
	invite, _, err := r.CreateInvite(t.Context(), registry.InviteSpec{Label: "a label"})
	if err != nil {
		t.Fatal(err)
	}
	again := registry.InviteSpec{Label: "repeatable", Key: "a client's key"}
	repeatable, _, err := r.CreateInvite(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	admin, _, err := r.CreateToken(t.Context(), registry.TokenSpec{Scopes: registry.AllScopes, Key: "a client's key"})
	if err != nil {
		t.Fatal(err)
	}
	link, err := r.AdminLink(t.Context(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw...)
	}
	if !bytes.Contains(all, []byte("a label")) {
		t.Fatal("the files do not hold what was written: the test looks in the wrong place")
	}
	for _, secret := range []string{token, token[16:], invite, repeatable, admin, admin[16:], link, "a client's key"} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%q is in the data directory", secret)
		}
	}
}

func TestInviteSpecs(t *testing.T) {
	r := newRegistry(t, t.TempDir(), func(c *registry.Config) { c.Open = false })
	for name, s := range map[string]registry.InviteSpec{
		"negative uses": {Uses: -1}, "too many uses": {Uses: api.MaxInviteUses + 1},
		"too short": {TTL: time.Millisecond}, "too long": {TTL: api.MaxInviteTTL + 1},
		"long label": {Label: string(make([]byte, 129))}, "no text": {Label: "\xff"}, "long code": {Code: string(make([]byte, 65))},
	} {
		if _, _, err := r.CreateInvite(t.Context(), s); !errors.Is(err, registry.ErrInviteSpec) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for range 2 {
		code, i, err := r.CreateInvite(t.Context(), registry.InviteSpec{Code: "a code of one's own"})
		if err != nil || code != "a code of one's own" || !i.Unlimited {
			t.Errorf("%q, %+v, %v", code, i, err)
		}
	}
	if err := r.RevokeInvite(t.Context(), registry.InviteID{}); !errors.Is(err, registry.ErrInviteNotFound) {
		t.Errorf("error %v, want %v", err, registry.ErrInviteNotFound)
	}
}

func TestWaitingEnds(t *testing.T) {
	r := newRegistry(t, t.TempDir(), func(c *registry.Config) { c.PollEvery = time.Millisecond })
	owner := register(t, r, 1).Peer.ID
	m, err := r.OpenMailbox(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	if tries, err := r.Tries(t.Context(), owner, m.Address, 0, 10*time.Millisecond); err != nil || len(tries) != 0 {
		t.Errorf("after the wait: %v, %v", tries, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Tries(ctx, owner, m.Address, 0, api.MaxWait); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the caller went: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := r.Tries(t.Context(), owner, m.Address, 0, api.MaxWait)
		ended <- err
	}()
	if err := r.CloseMailbox(t.Context(), owner, m.Address); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, registry.ErrMailboxClosed) {
		t.Errorf("after it was closed: %v", err)
	}
}

// upkeep is a store that counts what Run does.
type upkeep struct {
	registry.Store
	sweeps chan time.Time
	err    error
}

func (u upkeep) CountPeers(context.Context) (int, error) { return 0, u.err }

func (u upkeep) Sweep(_ context.Context, now time.Time) error {
	u.sweeps <- now
	return nil
}

func TestRunSweepsUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := upkeep{sweeps: make(chan time.Time, 10)}
		r, err := registry.New(registry.Config{Store: u})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		first := <-u.sweeps
		if second := <-u.sweeps; second.Sub(first) != time.Minute {
			t.Errorf("swept after %v", second.Sub(first))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func TestRunOutlivesItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := registry.New(registry.Config{Store: upkeep{err: registry.ErrUnavailable}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// revocations is a store of revocations alone, which fails at times.
type revocations struct {
	upkeep
	mu   sync.Mutex
	all  []registry.Revocation // guarded by mu
	fail bool                  // guarded by mu
}

func (r *revocations) set(n int, fail bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
	for range n {
		next := int64(len(r.all) + 1)
		r.all = append(r.all, registry.Revocation{Number: next, Peer: ident.PeerID{byte(next), byte(next >> 8), 1}})
	}
}

func (r *revocations) Revocations(_ context.Context, since int64, limit int) ([]registry.Revocation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail {
		return nil, registry.ErrUnavailable
	}
	return r.all[since:min(int(since)+limit, len(r.all))], nil
}

// TestRevocationsElsewhereAreTold: an instance tells of every revocation within
// a second of its being there, however many there are and although the store
// was away; again for a while, and not for ever.
func TestRevocationsElsewhereAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &revocations{upkeep: upkeep{sweeps: make(chan time.Time, 1000)}}
		var mu sync.Mutex
		told := map[ident.PeerID]int{} // guarded by mu
		r, err := registry.New(registry.Config{Store: store, OnRevoked: func(id ident.PeerID, _ time.Time) {
			mu.Lock()
			defer mu.Unlock()
			told[id]++
		}})
		if err != nil {
			t.Fatal(err)
		}
		store.set(2*registry.MaxBatch+1, false)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		pass := func(d time.Duration, want int) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != want {
				t.Errorf("told of %d peers, want %d", len(told), want)
			}
		}
		pass(0, 2001)
		store.set(3, true)
		pass(10*time.Second, 2001)
		store.set(0, false)
		pass(time.Second, 2004)
		store.set(1, false)
		pass(time.Second, 2005)
		pass(time.Minute, 2005)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		for id, n := range told {
			if n < 2 || n > 10 {
				t.Errorf("told %d times of %v", n, id)
			}
		}
	})
}

// ledger is a store of events alone.
type ledger struct {
	upkeep
	batches chan []registry.Event
}

func (l ledger) AddEvents(_ context.Context, events []registry.Event) error {
	l.batches <- events
	return nil
}

// TestRefusalsAreCounted: a flood of refusals, from however many sources, is a
// bounded number of events that add up to it.
func TestRefusalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := ledger{upkeep{sweeps: make(chan time.Time, 100)}, make(chan []registry.Event, 10)}
		r, err := registry.New(registry.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		for i := range 10_000 {
			source := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
			from := registry.WithOrigin(t.Context(), registry.Origin{Actor: "stranger", Source: source})
			r.Refused(from, "register", ident.PeerID{1}, registry.ErrInvite)
			r.Refused(from, "register", ident.PeerID{1}, context.Canceled) // no refusal
		}
		events := <-store.batches
		sum := 0
		for _, e := range events {
			sum += e.Count
			if e.Kind != registry.EventRefused || e.Detail != "register: the invite is not good" || e.Actor != "stranger" || (e.Source == "") != (e.Count > 1) || (e.Source == "") != e.Peer.IsZero() {
				t.Errorf("event %+v", e)
			}
		}
		if sum != 10_000 || len(events) > 100 {
			t.Errorf("%d refusals in %d events", sum, len(events))
		}
		r.Refused(t.Context(), "pair", ident.PeerID{2}, registry.ErrMailboxBurned)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if last := <-store.batches; len(last) != 1 || last[0].Peer != (ident.PeerID{2}) {
			t.Errorf("at the end: %+v", last)
		}
	})
}

func FuzzAuthenticate(f *testing.F) {
	r := newRegistry(f, f.TempDir(), nil)
	token := register(f, r, 1).Token
	for _, seed := range []string{token, token[:20], "ef_", "", "ef_" + token} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := r.Authenticate(context.Background(), s); (err == nil) != (s == token) || err != nil && !errors.Is(err, registry.ErrUnauthenticated) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func FuzzAuthenticateAdmin(f *testing.F) {
	r := newRegistry(f, f.TempDir(), nil)
	token, _, err := r.CreateToken(context.Background(), registry.TokenSpec{Scopes: registry.ScopesAdmin})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{token, token[:20], "efa_", "ef_", "", register(f, r, 1).Token} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := r.AuthenticateAdmin(context.Background(), s)
		if (err == nil) != (s == token) || err != nil && !errors.Is(err, registry.ErrUnauthenticated) && !errors.Is(err, registry.ErrNotAdmin) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func FuzzChallenge(f *testing.F) {
	r := newRegistry(f, f.TempDir(), nil)
	good, expires, err := r.Challenge(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	seed := sha256.Sum256([]byte("key"))
	key, err := ident.KeyFromSeed(seed[:])
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, good[:39], append(bytes.Clone(good), 0), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, challenge []byte) {
		reg := api.Registration{Challenge: challenge, Name: "name", Expires: expires}
		reg.Sign(key, nil)
		_, err := r.Register(context.Background(), reg, registry.Channel{})
		if !bytes.Equal(challenge, good) && !errors.Is(err, registry.ErrChallenge) {
			t.Errorf("%x: %v", challenge, err)
		}
	})
}
