package rvsync_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/rvsync"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scriptedRendezvous stores a list, or fails.
type scriptedRendezvous struct {
	mu      sync.Mutex
	allowed map[ident.PeerID]bool
	down    bool
	reads   int
}

var errDown = errors.New("the rendezvous is down")

func (r *scriptedRendezvous) Allowed(context.Context) ([]ident.PeerID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	if r.down {
		return nil, errDown
	}
	return slices.Collect(maps.Keys(r.allowed)), nil
}

func (r *scriptedRendezvous) Allow(_ context.Context, id ident.PeerID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allowed[id] = true
	return nil
}

func (r *scriptedRendezvous) Disallow(_ context.Context, id ident.PeerID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.allowed, id)
	return nil
}

func (r *scriptedRendezvous) set(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// run runs an allow list in virtual time.
func run(t *testing.T, f func(t *testing.T, r *scriptedRendezvous, store *state.Store, connected chan<- struct{})) {
	synctest.Test(t, func(t *testing.T) {
		store, err := state.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		r := &scriptedRendezvous{allowed: map[ident.PeerID]bool{{1}: true}}
		connected := make(chan struct{})
		list, err := rvsync.NewAllowList(rvsync.AllowListConfig{
			Rendezvous: r, Store: store, Connected: connected, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- list.Run(ctx) }()
		synctest.Wait()
		f(t, r, store, connected)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func pair(t *testing.T, store *state.Store) ident.PeerID {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := state.Peer{ID: key.ID(), PublicKey: key.Public(), Name: "laptop", PairedAt: time.Now()}
	if _, err := store.AddPeer(p); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return key.ID()
}

func TestOnlyPairedPeersMayFindAgent(t *testing.T) {
	run(t, func(t *testing.T, r *scriptedRendezvous, store *state.Store, _ chan<- struct{}) {
		if len(r.allowed) != 0 {
			t.Errorf("peers that are not paired are allowed: %v", r.allowed)
		}
		id := pair(t, store)
		if !r.allowed[id] {
			t.Error("a paired peer is not allowed")
		}
		reads := r.reads
		if err := store.PutShare(state.Share{Device: "2-1"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r.reads != reads {
			t.Error("a new share updates the list of allowed peers")
		}
		if err := store.ForgetPeer(id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.allowed) != 0 {
			t.Error("a forgotten peer is still allowed")
		}
	})
}

// TestFailedUpdateIsRepeatedOnce lets several updates fail. They must not leave a
// timer each: after the first success the rendezvous gets no more requests.
func TestFailedUpdateIsRepeatedOnce(t *testing.T) {
	run(t, func(t *testing.T, r *scriptedRendezvous, store *state.Store, connected chan<- struct{}) {
		r.set(true)
		for range 10 {
			connected <- struct{}{}
			time.Sleep(time.Second)
		}
		r.set(false)
		id := pair(t, store)
		if !r.allowed[id] {
			t.Error("the peer is not allowed although the rendezvous works again")
		}
		reads := r.reads
		time.Sleep(time.Hour)
		synctest.Wait()
		if r.reads != reads {
			t.Errorf("%d more requests follow a successful update, want none", r.reads-reads)
		}
	})
}

func TestFailedUpdateIsRepeated(t *testing.T) {
	run(t, func(t *testing.T, r *scriptedRendezvous, store *state.Store, _ chan<- struct{}) {
		r.set(true)
		id := pair(t, store)
		r.set(false)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if !r.allowed[id] {
			t.Error("a failed update is not repeated")
		}
	})
}
