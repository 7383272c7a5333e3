package history_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// figures is a store of figures that fails at times, and their source.
type figures struct {
	// Guarded by mu.
	mu      sync.Mutex
	now     history.Figures
	fail    bool
	minutes []history.Minute
	use     map[ident.PeerID]history.RelayUse
	batches int
}

func (f *figures) change(to func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to()
}

func (f *figures) read() history.Figures {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (*figures) CountPairs(context.Context, time.Time) (map[int64]presence.PairCount, error) {
	return map[int64]presence.PairCount{7: {Direct: 3, Relayed: 1}, 8: {Direct: 9}}, nil
}

func (f *figures) AddMinute(_ context.Context, m history.Minute) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return registry.ErrUnavailable
	}
	f.minutes = append(f.minutes, m)
	return nil
}

func (f *figures) AddRelayUse(_ context.Context, _ history.Day, uses []history.RelayUse) error {
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
		sum.ReceivedBytes, sum.ReceivedPackets = sum.ReceivedBytes+u.ReceivedBytes,
			sum.ReceivedPackets+u.ReceivedPackets
		f.use[u.Peer] = sum
	}
	return nil
}

// TestFiguresSurviveAFailingDatabase checks that no counter is lost or counted
// twice, also if the database fails for a minute.
func TestFiguresSurviveAFailingDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		holder := presence.Holder{Instance: "a", Epoch: 7}
		store := &figures{use: map[ident.PeerID]history.RelayUse{}, now: history.Figures{Holder: holder, Peers: 4}}
		one, two := ident.PeerID{1}, ident.PeerID{2}
		r, err := history.NewRecorder(history.Config{
			Store: store, Pairs: store, Figures: store.read, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		time.Sleep(20 * time.Second) // into a minute
		began := time.Now().Truncate(time.Minute)
		go func() { ended <- r.Run(ctx) }()
		until := func(minute int) {
			time.Sleep(time.Until(began.Add(time.Duration(minute)*time.Minute + time.Second)))
			synctest.Wait()
		}
		relay := func(bytes int64, uses ...history.RelayUse) {
			store.change(func() {
				store.now.RelayBytes, store.now.RelayPackets, store.now.Relay = bytes, bytes/100, uses
			})
		}
		store.change(func() { store.now.Refusals, store.now.Registrations = 1, 2 })
		relay(1000, history.RelayUse{Peer: one, SentBytes: 600, SentPackets: 6, ReceivedBytes: 400, ReceivedPackets: 4})
		until(1)
		store.change(func() { store.fail, store.now.Refusals = true, 4 })
		relay(3000,
			history.RelayUse{Peer: one, SentBytes: 1600, SentPackets: 16, ReceivedBytes: 400, ReceivedPackets: 4},
			history.RelayUse{Peer: two, SentBytes: 1000, SentPackets: 10})
		until(2)
		store.change(func() { store.fail = false })
		until(3)
		until(4)
		// The relay has dropped the counters of peer one and started again at 0.
		relay(3500,
			history.RelayUse{Peer: one, SentBytes: 500, SentPackets: 5},
			history.RelayUse{Peer: two, SentBytes: 1000, SentPackets: 10})
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}

		at := func(minute int) time.Time { return began.Add(time.Duration(minute) * time.Minute) }
		pairs := presence.PairCount{Direct: 3, Relayed: 1}
		want := []history.Minute{
			{
				At: at(0), Instance: "a", Peers: 4, Pairs: pairs,
				RelayBytes: 1000, RelayPackets: 10, Registrations: 2, Refusals: 1,
			},
			{At: at(2), Instance: "a", Peers: 4, Pairs: pairs, RelayBytes: 2000, RelayPackets: 20, Refusals: 3},
			{At: at(3), Instance: "a", Peers: 4, Pairs: pairs},
			{At: at(4), Instance: "a", Peers: 4, Pairs: pairs, RelayBytes: 500, RelayPackets: 5},
		}
		if !slices.Equal(store.minutes, want) {
			t.Errorf("minutes %+v\nwant %+v", store.minutes, want)
		}
		wantOne := history.RelayUse{Peer: one, SentBytes: 2100, SentPackets: 21, ReceivedBytes: 400, ReceivedPackets: 4}
		if got := store.use[one]; got != wantOne {
			t.Errorf("peer one: %+v, want %+v", got, wantOne)
		}
		wantTwo := history.RelayUse{Peer: two, SentBytes: 1000, SentPackets: 10}
		if got := store.use[two]; got != wantTwo || store.batches != 3 {
			t.Errorf("peer two: %+v in %d batches, want %+v", got, store.batches, wantTwo)
		}
	})
}
