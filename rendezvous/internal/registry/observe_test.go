package registry_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// figures is a store of figures alone, which fails at times.
type figures struct {
	upkeep

	mu      sync.Mutex // guards what follows
	seen    registry.Figures
	fail    bool
	minutes []registry.Minute
	use     map[ident.PeerID]registry.RelayUse
	batches int
}

func (f *figures) change(to func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to()
}

func (f *figures) observe() registry.Figures {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

func (*figures) AddEvents(context.Context, []registry.Event) error { return nil }

func (f *figures) CountPairs(context.Context, time.Time) (map[int64]registry.PairCount, error) {
	return map[int64]registry.PairCount{7: {Direct: 3, Relayed: 1}, 8: {Direct: 9}}, nil
}

func (f *figures) AddMinute(_ context.Context, m registry.Minute) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return registry.ErrUnavailable
	}
	f.minutes = append(f.minutes, m)
	return nil
}

func (f *figures) AddRelayUse(_ context.Context, _ registry.Day, uses []registry.RelayUse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return registry.ErrUnavailable
	}
	f.batches++
	for _, u := range uses {
		sum := f.use[u.Peer]
		sum.Peer = u.Peer
		sum.SentBytes, sum.SentPackets = sum.SentBytes+u.SentBytes, sum.SentPackets+u.SentPackets
		sum.ReceivedBytes, sum.ReceivedPackets = sum.ReceivedBytes+u.ReceivedBytes, sum.ReceivedPackets+u.ReceivedPackets
		f.use[u.Peer] = sum
	}
	return nil
}

// TestHistoryIsKeptByTheMinute: what is counted is neither lost nor counted
// twice, also while the database is away.
func TestHistoryIsKeptByTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &figures{
			upkeep: upkeep{sweeps: make(chan time.Time, 100)}, use: map[ident.PeerID]registry.RelayUse{},
			seen: registry.Figures{Holder: registry.Holder{Instance: "a", Epoch: 7}, Peers: 4},
		}
		one, two := ident.PeerID{1}, ident.PeerID{2}
		r, err := registry.New(registry.Config{Store: store, Figures: store.observe})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		<-time.After(20 * time.Second) // the minute has begun
		began := time.Now().Truncate(time.Minute)
		go func() { ended <- r.Run(ctx) }()
		until := func(n int) {
			<-time.After(time.Until(began.Add(time.Duration(n)*time.Minute + time.Second)))
			synctest.Wait()
		}
		relay := func(bytes int64, uses ...registry.RelayUse) {
			store.change(func() { store.seen.RelayBytes, store.seen.RelayPackets, store.seen.Relay = bytes, bytes/100, uses })
		}
		r.Refused(ctx, "pair", one, registry.ErrLimited)
		relay(1000, registry.RelayUse{Peer: one, SentBytes: 600, SentPackets: 6, ReceivedBytes: 400, ReceivedPackets: 4})
		until(1)
		store.change(func() { store.fail = true })
		relay(3000, registry.RelayUse{Peer: one, SentBytes: 1600, SentPackets: 16, ReceivedBytes: 400, ReceivedPackets: 4}, registry.RelayUse{Peer: two, SentBytes: 1000, SentPackets: 10})
		until(2)
		store.change(func() { store.fail = false })
		until(3)
		until(4)
		// One was forgotten by the relay and has come back.
		relay(3500, registry.RelayUse{Peer: one, SentBytes: 500, SentPackets: 5}, registry.RelayUse{Peer: two, SentBytes: 1000, SentPackets: 10})
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}

		at := func(n int) time.Time { return began.Add(time.Duration(n) * time.Minute) }
		pairs := registry.PairCount{Direct: 3, Relayed: 1}
		want := []registry.Minute{
			{At: at(0), Instance: "a", Peers: 4, Pairs: pairs, RelayBytes: 1000, RelayPackets: 10, Refusals: 1},
			{At: at(2), Instance: "a", Peers: 4, Pairs: pairs, RelayBytes: 2000, RelayPackets: 20},
			{At: at(3), Instance: "a", Peers: 4, Pairs: pairs},
			{At: at(4), Instance: "a", Peers: 4, Pairs: pairs, RelayBytes: 500, RelayPackets: 5},
		}
		if !slices.Equal(store.minutes, want) {
			t.Errorf("kept %+v\nwant %+v", store.minutes, want)
		}
		if got := store.use[one]; got != (registry.RelayUse{Peer: one, SentBytes: 2100, SentPackets: 21, ReceivedBytes: 400, ReceivedPackets: 4}) {
			t.Errorf("one used %+v", got)
		}
		if got := store.use[two]; got != (registry.RelayUse{Peer: two, SentBytes: 1000, SentPackets: 10}) || store.batches != 3 {
			t.Errorf("two used %+v, in %d batches", got, store.batches)
		}
	})
}
