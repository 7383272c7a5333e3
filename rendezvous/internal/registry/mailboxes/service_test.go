package mailboxes_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewWantsItsParts(t *testing.T) {
	if _, err := mailboxes.New(mailboxes.Config{}); err == nil {
		t.Error("New accepted a configuration without a store")
	}
}

func TestWaitingForATryEnds(t *testing.T) {
	db, err := sqlitestore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, err := mailboxes.New(mailboxes.Config{
		Store: db.Mailboxes(), PollInterval: time.Millisecond, Refused: func(context.Context, string, ident.PeerID,
			error) {
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	owner := ident.PeerID{1}
	m, err := s.OpenMailbox(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	if tries, err := s.Tries(t.Context(), owner, m.Address, 0, 10*time.Millisecond); err != nil || len(tries) != 0 {
		t.Errorf("after the time to wait: %v, %v", tries, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Tries(ctx, owner, m.Address, 0, api.MaxWait); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the caller's deadline: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := s.Tries(t.Context(), owner, m.Address, 0, api.MaxWait)
		ended <- err
	}()
	if err := s.CloseMailbox(t.Context(), owner, m.Address); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, mailboxes.ErrClosed) {
		t.Errorf("after the mailbox was closed: %v", err)
	}
}
