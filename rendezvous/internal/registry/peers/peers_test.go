package peers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a registration over a database.
type fixture struct {
	db           *sqlitestore.DB
	registration *peers.Registration
	requests     *peers.JoinRequests
}

func newFixture(t testing.TB, change func(*peers.RegistrationConfig)) fixture {
	t.Helper()
	db, err := sqlitestore.Open(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	log := slog.New(slog.DiscardHandler)
	counter, err := peers.NewCounter(db.Peers(), log)
	if err != nil {
		t.Fatal(err)
	}
	requests, err := peers.NewJoinRequests(db.JoinRequests(), nil, log)
	if err != nil {
		t.Fatal(err)
	}
	config := peers.RegistrationConfig{
		Store: db.Peers(), Peers: db.Peers(), Secrets: registry.NewSecrets(db, nil), Counter: counter,
		JoinRequests: requests,
		Open:         true, Refused: func(context.Context, string, ident.PeerID, error) {},
	}
	if change != nil {
		change(&config)
	}
	r, err := peers.NewRegistration(config)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{db: db, registration: r, requests: requests}
}

func key(t testing.TB, n byte) ident.Key {
	t.Helper()
	k, err := ident.KeyFromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// register registers the nth peer.
func (f fixture) register(t testing.TB, ctx context.Context, n byte) (peers.RegistrationResult, error) {
	t.Helper()
	challenge, expires, err := f.registration.Challenge(ctx)
	if err != nil {
		t.Fatal(err)
	}
	reg := api.Registration{Challenge: challenge, Name: "name", Expires: expires}
	reg.Sign(key(t, n), nil)
	return f.registration.Register(ctx, reg, peers.Channel{})
}

func TestInviteSpecs(t *testing.T) {
	f := newFixture(t, nil)
	invites, err := peers.NewInvites(f.db.Invites(), registry.NewSecrets(f.db, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]peers.InviteSpec{
		"negative uses": {Uses: -1}, "too many uses": {Uses: api.MaxInviteUses + 1},
		"too short": {TTL: time.Millisecond}, "too long": {TTL: api.MaxInviteTTL + 1},
		"long label": {Label: string(make([]byte, 129))}, "not text": {Label: "\xff"},
		"long code": {Code: string(make([]byte, 65))},
	} {
		if _, _, err := invites.CreateInvite(t.Context(), s); !errors.Is(err, peers.ErrInviteSpec) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for range 2 {
		code, i, err := invites.CreateInvite(t.Context(), peers.InviteSpec{Code: "a chosen code"})
		if err != nil || code != "a chosen code" || !i.Unlimited {
			t.Errorf("%q, %+v, %v", code, i, err)
		}
	}
	if err := invites.RevokeInvite(t.Context(), peers.InviteID{}); !errors.Is(err, peers.ErrInviteNotFound) {
		t.Errorf("error %v, want %v", err, peers.ErrInviteNotFound)
	}
}

func FuzzAuthenticate(f *testing.F) {
	fix := newFixture(f, nil)
	registered, err := fix.register(f, context.Background(), 1)
	if err != nil {
		f.Fatal(err)
	}
	directory, err := peers.NewDirectory(fix.db.Peers(), fix.db.Presence(), nil)
	if err != nil {
		f.Fatal(err)
	}
	token := registered.Token
	for _, seed := range []string{token, token[:20], "ef_", "", "ef_" + token} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := directory.Authenticate(context.Background(), text)
		if (err == nil) != (text == token) || err != nil && !errors.Is(err, registry.ErrUnauthenticated) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func FuzzChallenge(f *testing.F) {
	fix := newFixture(f, nil)
	good, expires, err := fix.registration.Challenge(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	seed := sha256.Sum256([]byte("key"))
	k, err := ident.KeyFromSeed(seed[:])
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, good[:39], append(bytes.Clone(good), 0), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, challenge []byte) {
		reg := api.Registration{Challenge: challenge, Name: "name", Expires: expires}
		reg.Sign(k, nil)
		_, err := fix.registration.Register(context.Background(), reg, peers.Channel{})
		if !bytes.Equal(challenge, good) && !errors.Is(err, peers.ErrChallenge) {
			t.Errorf("%x: %v", challenge, err)
		}
	})
}
