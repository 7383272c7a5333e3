package cluster

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// linkOf returns the link of alice and bob according to the store, or nil.
func linkOf(t *testing.T, store testStore) *presence.Pair {
	t.Helper()
	pairs, err := store.links.Pairs(t.Context(), presence.PairQuery{Limit: 10}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) == 0 {
		return nil
	}
	return &pairs[0]
}

func TestLinkIsStoredWhilePeerIsConnected(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one := join(t, store, "one")
		has := func(kind presence.LinkKind) func() bool {
			return func() bool {
				p := linkOf(t, store)
				return p == nil && kind == presence.LinkNone || p != nil && p.Kind == kind
			}
		}
		began := time.Now()
		relayed := signal.LinkReport{Peer: bob, Kind: signal.LinkRelayed, Transport: signal.TransportTLS}
		direct := signal.LinkReport{
			Peer: bob, Kind: signal.LinkDirect, Transport: signal.TransportUDP,
			RTT: 9 * time.Millisecond,
		}
		one.connect(alice, began)
		one.ReportLink(alice, began, relayed)
		waittest.Until(t, "the link is relayed", has(presence.LinkRelayed))
		one.ReportLink(alice, began, direct)
		waittest.Until(t, "the link is direct", has(presence.LinkDirect))
		since := linkOf(t, store).Since
		direct.RTT *= 2
		one.ReportLink(alice, began, direct)
		waittest.Until(t, "the new round-trip time is stored",
			func() bool { return linkOf(t, store).RTT == direct.RTT })
		if now := linkOf(t, store).Since; !now.Equal(since) {
			t.Errorf("a new round-trip time changed the start of the link from %v to %v", since, now)
		}
		one.ReportLink(alice, began, signal.LinkReport{Peer: bob})
		waittest.Until(t, "there is no link", has(presence.LinkNone))

		one.ReportLink(alice, began, relayed)
		waittest.Until(t, "there is a link again", has(presence.LinkRelayed))
		one.disconnect(alice, began)
		waittest.Until(t, "the link of a disconnected peer is gone", has(presence.LinkNone))
		one.ReportLink(alice, began, direct) // on the connection that has ended
		one.connect(alice, began.Add(time.Second))
		waittest.Until(t, "alice is connected again", func() bool {
			locations, err := store.LocatePeers(t.Context(), []ident.PeerID{alice}, time.Now())
			return err == nil && len(locations) == 1
		})
		if p := linkOf(t, store); p != nil {
			t.Errorf("a report on her previous connection counts: %+v", p)
		}
	})
}

func TestLinksAreWrittenAgainUnderNewLease(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one := join(t, store, "one")
		began := time.Now()
		one.connect(alice, began)
		one.ReportLink(alice, began, signal.LinkReport{Peer: bob, Kind: signal.LinkLAN, Transport: signal.TransportUDP})
		waittest.Until(t, "the link is stored", func() bool { return linkOf(t, store) != nil })
		before := one.Holder()
		if err := store.ReleaseLease(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "the link is stored under another lease", func() bool {
			return one.Holder().Epoch > before.Epoch && linkOf(t, store) != nil
		})
	})
}

func TestReportsOfOnePeerAreBounded(t *testing.T) {
	r := newReports()
	now := time.Now()
	for n := range maxReports + 50 {
		remote := ident.PeerID{9, byte(n), byte(n >> 8)}
		r.add(alice, now, signal.LinkReport{Peer: remote, Kind: signal.LinkDirect, Transport: signal.TransportUDP}, now)
	}
	if n := len(r.byPeer[alice].byRemote); n != maxReports {
		t.Errorf("%d reports are kept, want %d", n, maxReports)
	}
	r.remove(alice, now)
	if len(r.byPeer) != 0 || len(r.changed) != 0 {
		t.Errorf("after she disconnected: reports of %d peers, %d changes", len(r.byPeer), len(r.changed))
	}
}
