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

func TestMessageFollowsPeerThatMoved(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one, two, three := join(t, store, "one"), join(t, store, "two"), join(t, store, "three")
		began := time.Now()
		two.connect(bob, began)
		waittest.Until(t, "one sees bob", func() bool { return one.online(t, bob) })
		if err := one.send(t, alice, bob, nil); err != nil {
			t.Fatal(err)
		}
		two.disconnect(bob, began)
		three.connect(bob, began.Add(time.Second))
		waittest.Until(t, "the store has bob at three", func() bool { return locate(t, store, bob) == "three" })
		if err := one.send(t, alice, bob, nil); err != nil || len(three.received()) != 1 {
			t.Errorf("message to bob after he moved: %v, three got %d", err, len(three.received()))
		}
		three.disconnect(bob, began.Add(time.Second))
		waittest.Until(t, "bob is offline", func() bool { return !one.online(t, bob) })
		if err := one.send(t, alice, bob, nil); !errors.Is(err, signal.FailureOffline) {
			t.Errorf("message to an offline peer: %v", err)
		}
	})
}

// TestMessageFollowsPeerThatMovesMeanwhile: a peer moves between the answer of
// the store and the message, to a third instance or to the sender's own.
func TestMessageFollowsPeerThatMovesMeanwhile(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one, two, three := join(t, store, "one"), join(t, store, "two"), join(t, store, "three")
		since := time.Now()
		for peer, next := range map[ident.PeerID]*instance{bob: three, carol: one} {
			two.Connected(peer, since) // the store has it at two, but two has no session
			waittest.Until(t, "the store has the peer", func() bool { return one.online(t, peer) })
			two.onOffline(sync.OnceFunc(func() {
				next.connect(peer, since.Add(time.Second))
				waittest.Eventually(func() bool { return locate(t, store, peer) == next.name })
			}))
			if err := one.send(t, alice, peer, []byte(next.name)); err != nil {
				t.Errorf("message to a peer that moved to %s: %v", next.name, err)
			}
			if got := next.received(); !slices.Contains(got, alice.Short()+" "+next.name) {
				t.Errorf("%s got %q", next.name, got)
			}
		}
	})
}

// TestInstanceHasNoPeersBeforeItRuns: the store may still have peers of the
// process before it, under a lease that has not expired.
func TestInstanceHasNoPeersBeforeItRuns(t *testing.T) {
	store := newSQLite(t)
	before := join(t, store, "one")
	other := join(t, store, "two")
	before.connect(bob, time.Now())
	waittest.Until(t, "the store has bob", func() bool { return other.online(t, bob) })
	k, err := New(Config{
		Leases: store, Presence: store, Reports: store, Name: "one", Key: key(t, 77),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	after := &instance{Cluster: k}
	if err := after.send(t, alice, bob, nil); !errors.Is(err, signal.FailureUnavailable) {
		t.Errorf("message to a peer of the process before: %v", err)
	}
	k.router.lookups.Close()
}

// TestRouteToOwnInstanceIsNotCached: a lookup that finds a peer which has just
// left this instance must not hide where the peer connects next.
func TestRouteToOwnInstanceIsNotCached(t *testing.T) {
	store := newSQLite(t)
	one, two := join(t, store, "one"), join(t, store, "two")
	began := one.Now()
	one.connect(bob, began)
	waittest.Until(t, "two sees bob", func() bool { return two.online(t, bob) })
	one.drop(bob) // the store still has him
	if err := one.send(t, alice, bob, nil); !errors.Is(err, signal.FailureOffline) {
		t.Errorf("message to a peer that has just left: %v", err)
	}
	two.connect(bob, began.Add(time.Second))
	waittest.Until(t, "one sees bob at two", func() bool { return one.online(t, bob) })
	if err := one.send(t, alice, bob, nil); err != nil {
		t.Errorf("message to where he is now: %v", err)
	}
}
