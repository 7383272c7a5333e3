package sqlitestore_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// TestCancelledReadDoesNotWait checks that a cancelled read returns although another
// read waits for a free connection to prepare its statement.
func TestCancelledReadDoesNotWait(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	if _, err := s.Peers().CountPeers(t.Context()); err != nil { // prepares its statement
		t.Fatal(err)
	}
	var held []interface{ Close() error }
	for range s.Pool().Max - 1 { // without the writing one
		conn, err := s.SQL().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	waits := s.Pool().Waits
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := s.Peers().Peer(t.Context(), ident.PeerID{1}); !errors.Is(err, peers.ErrNotFound) {
			t.Errorf("the waiting read: %v", err)
		}
	})
	waittest.Until(t, "the read waits for a connection", func() bool { return s.Pool().Waits > waits })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cancelled := make(chan error, 1)
	go func() {
		_, err := s.Peers().CountPeers(ctx)
		cancelled <- err
	}()
	if err := waittest.Receive(t, "the result of the cancelled read", cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled read: %v", err)
	}
	for _, conn := range held {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	waiting.Wait()
	if n, err := s.Peers().CountPeers(t.Context()); err != nil || n != 0 {
		t.Errorf("after that: %d peers, %v", n, err)
	}
}
