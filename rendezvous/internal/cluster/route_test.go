package cluster

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestAStaleRouteIsLookedUpAgain(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one, two, three := join(t, store, "one"), join(t, store, "two"), join(t, store, "three")
		began := time.Now()
		two.connect(bob, began)
		waittest.Until(t, "one sees bob", func() bool { return one.online(t, bob) })
		if err := one.send(t, alice, bob, nil); err != nil {
			t.Fatal(err)
		}
		two.disconnect(bob, began)
		three.connect(bob, began.Add(time.Second))
		waittest.Until(t, "bob has moved", func() bool {
			at, err := store.LocatePeers(t.Context(), []ident.PeerID{bob}, time.Now())
			return err == nil && at[bob].Instance == "three"
		})
		if err := one.send(t, alice, bob, nil); err != nil || len(three.received()) != 1 {
			t.Errorf("forward to where bob is now: %v, three got %d", err, len(three.received()))
		}
		three.disconnect(bob, began.Add(time.Second))
		waittest.Until(t, "bob is gone", func() bool { return !one.online(t, bob) })
		if err := one.send(t, alice, bob, nil); !errors.Is(err, signal.FailureOffline) {
			t.Errorf("forward to nobody: %v", err)
		}
	})
}

// TestARouteThatGrowsOldOnTheWayIsLookedUpAgain: a peer moves between the answer
// of the store and the message, to a third instance or to the sender's own.
func TestARouteThatGrowsOldOnTheWayIsLookedUpAgain(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one, two, three := join(t, store, "one"), join(t, store, "two"), join(t, store, "three")
		since := time.Now()
		for peer, next := range map[ident.PeerID]*instance{bob: three, carol: one} {
			two.Connected(peer, since) // it is noted there, and there no more
			waittest.Until(t, "the store has it", func() bool { return one.online(t, peer) })
			two.inbox.mu.Lock()
			two.miss = sync.OnceFunc(func() {
				next.connect(peer, since.Add(time.Second))
				for at := ""; at != next.name; {
					l, err := store.LocatePeers(t.Context(), []ident.PeerID{peer}, time.Now())
					if err != nil {
						t.Error(err)
						return
					}
					at = l[peer].Instance
				}
			})
			two.inbox.mu.Unlock()
			if err := one.send(t, alice, peer, []byte(next.name)); err != nil {
				t.Errorf("to who has moved to %s: %v", next.name, err)
			}
			if got := next.received(); !slices.Contains(got, alice.Short()+" "+next.name) {
				t.Errorf("%s got %q", next.name, got)
			}
		}
	})
}

// TestBeforeItRunsAnInstanceHasNobody, although the store may have peers of the
// process before it, under a lease that is not over.
func TestBeforeItRunsAnInstanceHasNobody(t *testing.T) {
	store := memory(t)
	before := join(t, store, "one")
	other := join(t, store, "two")
	before.connect(bob, time.Now())
	waittest.Until(t, "the store has bob", func() bool { return other.online(t, bob) })
	k, err := New(Config{Store: store, Name: "one", Key: key(t, 77), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	after := &instance{Cluster: k}
	if err := after.send(t, alice, bob, nil); !errors.Is(err, signal.FailureUnavailable) {
		t.Errorf("forward to a peer of the process before: %v", err)
	}
	k.lookups.Close()
}

// TestARouteToOneselfIsNotKept: what an instance was told of a peer that has just
// left it must not hide where the peer is next.
func TestARouteToOneselfIsNotKept(t *testing.T) {
	store := memory(t)
	one, two := join(t, store, "one"), join(t, store, "two")
	began := one.Now()
	one.connect(bob, began)
	waittest.Until(t, "two sees bob", func() bool { return two.online(t, bob) })
	one.drop(bob) // and the store still has him
	if err := one.send(t, alice, bob, nil); !errors.Is(err, signal.FailureOffline) {
		t.Errorf("to a peer that has just left: %v", err)
	}
	two.connect(bob, began.Add(time.Second))
	waittest.Until(t, "one sees bob at two", func() bool { return one.online(t, bob) })
	if err := one.send(t, alice, bob, nil); err != nil {
		t.Errorf("to where he is now: %v", err)
	}
}
