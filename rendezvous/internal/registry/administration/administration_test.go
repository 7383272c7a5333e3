package administration_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peerToken is the only token that belongs to a peer.
const peerToken = "ef_of_a_peer"

func newService(t testing.TB) *administration.Service {
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
	s, err := administration.New(administration.Config{
		Store: db.Administration(), Secrets: registry.NewSecrets(db, nil),
		AuthenticatePeer: func(_ context.Context, token string) (ident.PeerID, error) {
			if token != peerToken {
				return ident.PeerID{}, registry.ErrUnauthenticated
			}
			return ident.PeerID{1}, nil
		},
		Refused: func(context.Context, string, ident.PeerID, error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewWantsItsParts(t *testing.T) {
	if _, err := administration.New(administration.Config{}); err == nil {
		t.Error("New accepted a configuration without a store")
	}
}

func TestScopes(t *testing.T) {
	for i, one := range api.Scopes {
		set, err := administration.ScopesOf([]api.Scope{one, one})
		if err != nil || !slices.Equal(set.List(), []api.Scope{one}) {
			t.Errorf("%s: %v, %v", one, set.List(), err)
		}
		for j, other := range api.Scopes {
			if got, want := set.Covers(other), i == j || one == api.ScopeAdmin; got != want {
				t.Errorf("%s covers %s: %v, want %v", one, other, got, want)
			}
		}
		if !set.Covers("") {
			t.Errorf("%s does not cover an operation that needs no scope", one)
		}
	}
	all, err := administration.ScopesOf(api.Scopes)
	if err != nil || all != administration.AllScopes {
		t.Errorf("all scopes are %v, %v", all.List(), err)
	}
	if got := administration.ScopesAdmin.List(); !slices.Equal(got, []api.Scope{api.ScopeAdmin}) {
		t.Errorf("the scope admin is %v", got)
	}
	for _, wrong := range [][]api.Scope{nil, {"everything"}, {api.ScopePeers, ""}} {
		if _, err := administration.ScopesOf(wrong); !errors.Is(err, administration.ErrTokenSpec) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestSignInEndsWithItsToken(t *testing.T) {
	s, ctx := newService(t), t.Context()
	token, parent, err := s.CreateToken(ctx, administration.TokenSpec{Scopes: administration.AllScopes, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	secret, signIn, err := s.SignIn(ctx, token, "a browser")
	if err != nil || signIn.Actor() != parent.Actor() {
		t.Fatalf("signed in as %+v, %v", signIn, err)
	}
	if got, err := s.AuthenticateSignIn(ctx, secret); err != nil || got.ID != signIn.ID {
		t.Errorf("while the token is valid: %+v, %v", got, err)
	}
	if _, err := s.AuthenticateAdmin(ctx, secret); !errors.Is(err, registry.ErrUnauthenticated) {
		t.Errorf("a sign-in used as a token: %v", err)
	}
	if _, err := s.AuthenticateSignIn(ctx, token); !errors.Is(err, registry.ErrUnauthenticated) {
		t.Errorf("a token used as a sign-in: %v", err)
	}
	if err := s.RevokeToken(ctx, parent.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AuthenticateSignIn(ctx, secret); !errors.Is(err, registry.ErrUnauthenticated) {
		t.Errorf("after the token was revoked: %v", err)
	}
	for range 2 {
		if err := s.SignOut(ctx, signIn); err != nil {
			t.Errorf("sign out: %v", err)
		}
	}
}

func FuzzAuthenticateAdmin(f *testing.F) {
	s := newService(f)
	token, _, err := s.CreateToken(context.Background(), administration.TokenSpec{Scopes: administration.ScopesAdmin})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{token, token[:20], "efa_", "ef_", "", peerToken} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := s.AuthenticateAdmin(context.Background(), text)
		if (err == nil) != (text == token) ||
			err != nil && !errors.Is(err, registry.ErrUnauthenticated) && !errors.Is(err, administration.ErrNotAdmin) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
