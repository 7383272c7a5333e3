package peers_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// revocations is a store that fails at times.
type revocations struct {
	peers.RevocationStore
	peers.PeerReader

	// Guarded by mu.
	mu   sync.Mutex
	all  []peers.Revocation
	fail bool
}

func (*revocations) CountPeers(context.Context) (int, error) { return 0, registry.ErrUnavailable }

// add adds n revocations, and lets reads fail or succeed from now on.
func (r *revocations) add(n int, fail bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
	for range n {
		next := int64(len(r.all) + 1)
		r.all = append(r.all, peers.Revocation{Number: next, Peer: ident.PeerID{byte(next), byte(next >> 8), 1}})
	}
}

func (r *revocations) Revocations(_ context.Context, since int64, limit int) ([]peers.Revocation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail {
		return nil, registry.ErrUnavailable
	}
	return r.all[since:min(int(since)+limit, len(r.all))], nil
}

// TestRevocationsElsewhereTakeEffectHere checks that an instance calls OnRevoked
// for every revocation within a second, however many there are and although the
// store failed meanwhile, and that it stops repeating the calls.
func TestRevocationsElsewhereTakeEffectHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &revocations{}
		log := slog.New(slog.DiscardHandler)
		counter, err := peers.NewCounter(store, log)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		calls := map[ident.PeerID]int{} // guarded by mu
		s, err := peers.NewRevocations(peers.RevocationConfig{
			Store: store, Peers: store, Counter: counter, Logger: log,
			OnRevoked: func(id ident.PeerID, _ time.Time) {
				mu.Lock()
				defer mu.Unlock()
				calls[id]++
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		store.add(2*registry.MaxBatch+1, false)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		after := func(d time.Duration, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(calls) != want {
				t.Errorf("calls for %d peers, want %d", len(calls), want)
			}
		}
		after(0, 2001)
		store.add(3, true)
		after(10*time.Second, 2001)
		store.add(0, false)
		after(time.Second, 2004)
		store.add(1, false)
		after(time.Second, 2005)
		after(time.Minute, 2005)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		for id, n := range calls {
			if n < 2 || n > 10 {
				t.Errorf("%d calls for %v", n, id)
			}
		}
	})
}

// TestCounterSurvivesItsStore checks that the count goes on although the store
// fails.
func TestCounterSurvivesItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counter, err := peers.NewCounter(&revocations{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := counter.Run(ctx); err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}
