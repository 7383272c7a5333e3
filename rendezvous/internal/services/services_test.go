package services_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServices(t *testing.T, dir string) *services.Services {
	t.Helper()
	db, err := database.Open(t.Context(), database.Location{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := services.New(services.Config{
		Database: db, Open: true, Figures: func() history.Figures { return history.Figures{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewWantsADatabase(t *testing.T) {
	if _, err := services.New(services.Config{}); err == nil {
		t.Error("New accepted a configuration without a database")
	}
}

// TestSecretsAreNotStored searches the files of a database for secrets that the
// services have issued.
func TestSecretsAreNotStored(t *testing.T) {
	dir := t.TempDir()
	s := newServices(t, dir)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ident.KeyFromSeed(bytes.Repeat([]byte{1}, 32))
	must(err)
	challenge, expires, err := s.Registration.Challenge(ctx)
	must(err)
	reg := api.Registration{Challenge: challenge, Name: "name", Expires: expires}
	reg.Sign(key, nil)
	registered, err := s.Registration.Register(ctx, reg, peers.Channel{})
	must(err)
	invite, _, err := s.Invites.CreateInvite(ctx, peers.InviteSpec{Label: "a label"})
	must(err)
	repeatable, _, err := s.Invites.CreateInvite(ctx, peers.InviteSpec{Label: "repeatable", Key: "a client's key"})
	must(err)
	admin, _, err := s.Administration.CreateToken(ctx, administration.TokenSpec{
		Scopes: administration.AllScopes, Key: "a client's key",
	})
	must(err)
	link, err := s.Administration.AdminLink(ctx, "", true)
	must(err)

	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(err)
	var all []byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		must(err)
		all = append(all, raw...)
	}
	if !bytes.Contains(all, []byte("a label")) {
		t.Fatal("the files do not contain the label of the invite: the test searches the wrong files")
	}
	token := registered.Token
	for _, secret := range []string{token, token[16:], invite, repeatable, admin, admin[16:], link, "a client's key"} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%q is in the data directory", secret)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	s := newServices(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run ended with %v", err)
	}
}
