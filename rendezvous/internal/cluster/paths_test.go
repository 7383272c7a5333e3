package cluster

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// pair is what the store says of alice and bob; nil if nothing.
func pair(t *testing.T, store Store) *registry.Pair {
	t.Helper()
	pairs, err := store.(registry.PathStore).Pairs(t.Context(), registry.PairQuery{Limit: 10}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) == 0 {
		return nil
	}
	return &pairs[0]
}

func TestALinkIsSeenWhileItsPeerIsConnected(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one := join(t, store, "one")
		is := func(kind registry.PathKind) func() bool {
			return func() bool {
				p := pair(t, store)
				return p == nil && kind == registry.PathNone || p != nil && p.Kind == kind
			}
		}
		began := time.Now()
		relayed := signal.Path{Peer: bob, Kind: signal.PathRelayed, Transport: signal.TransportTLS}
		direct := signal.Path{Peer: bob, Kind: signal.PathDirect, Transport: signal.TransportUDP, RTT: 9 * time.Millisecond}
		one.connect(alice, began)
		one.Path(alice, began, relayed)
		waittest.Until(t, "a relayed link", is(registry.PathRelayed))
		one.Path(alice, began, direct)
		waittest.Until(t, "a direct link", is(registry.PathDirect))
		since := pair(t, store).Since
		direct.RTT *= 2
		one.Path(alice, began, direct)
		waittest.Until(t, "another round trip", func() bool { return pair(t, store).RTT == direct.RTT })
		if again := pair(t, store).Since; !again.Equal(since) {
			t.Errorf("the link is the same since %v, then since %v", since, again)
		}
		one.Path(alice, began, signal.Path{Peer: bob})
		waittest.Until(t, "no link", is(registry.PathNone))

		one.Path(alice, began, relayed)
		waittest.Until(t, "a link again", is(registry.PathRelayed))
		one.disconnect(alice, began)
		waittest.Until(t, "no link of one who has gone", is(registry.PathNone))
		one.Path(alice, began, direct) // of the connection that has ended
		one.connect(alice, began.Add(time.Second))
		waittest.Until(t, "alice is back", func() bool {
			at, err := store.LocatePeers(t.Context(), []ident.PeerID{alice}, time.Now())
			return err == nil && len(at) == 1
		})
		if p := pair(t, store); p != nil {
			t.Errorf("what was said before she left counts: %+v", p)
		}
	})
}

func TestLinksAreWrittenAnewUnderANewLease(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one := join(t, store, "one")
		began := time.Now()
		one.connect(alice, began)
		one.Path(alice, began, signal.Path{Peer: bob, Kind: signal.PathLAN, Transport: signal.TransportUDP})
		waittest.Until(t, "a link", func() bool { return pair(t, store) != nil })
		before := one.Holder()
		if err := store.ReleaseLease(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "the link under another lease", func() bool {
			return one.Holder().Epoch > before.Epoch && pair(t, store) != nil
		})
	})
}

func TestLinksOfOnePeerAreBounded(t *testing.T) {
	p := newPaths()
	now := time.Now()
	for n := range maxPaths + 50 {
		p.note(alice, now, signal.Path{Peer: ident.PeerID{9, byte(n), byte(n >> 8)}, Kind: signal.PathDirect, Transport: signal.TransportUDP}, now)
	}
	if n := len(p.said[alice].links); n != maxPaths {
		t.Errorf("%d links are remembered", n)
	}
	p.forget(alice, now)
	if len(p.said) != 0 || len(p.changes) != 0 {
		t.Errorf("after she left: %d peers, %d changes", len(p.said), len(p.changes))
	}
}
