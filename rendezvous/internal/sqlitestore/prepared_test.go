package sqlitestore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// TestWhoGivesUpReadingWaitsForNobody: while all connections are in use, one
// waits for one to parse its statement; another gives up when it said it would.
func TestWhoGivesUpReadingWaitsForNobody(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	if _, err := s.Peers().CountPeers(t.Context()); err != nil { // parses its statement
		t.Fatal(err)
	}
	var held []interface{ Close() error }
	for range s.Pool().Max - 1 { // but for the one that writes
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
			t.Errorf("who waits reads %v", err)
		}
	})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.Pool().Waits == waits {
		<-tick.C
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gaveUp := make(chan error, 1)
	go func() {
		_, err := s.Peers().CountPeers(ctx)
		gaveUp <- err
	}()
	over := time.NewTimer(10 * time.Second)
	defer over.Stop()
	select {
	case err := <-gaveUp:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up reads %v", err)
		}
	case <-over.C:
		t.Error("who gives up waits for the one before")
	}
	for _, conn := range held {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	waiting.Wait()
	if n, err := s.Peers().CountPeers(t.Context()); err != nil || n != 0 {
		t.Errorf("afterwards there are %d peers, %v", n, err)
	}
}
