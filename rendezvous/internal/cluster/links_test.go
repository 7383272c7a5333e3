package cluster

import (
	"context"
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// newSQLite returns an empty SQLite store.
func newSQLite(t *testing.T) testStore {
	t.Helper()
	store, err := sqlitestore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return testStore{
		LeaseStore: store.Leases(), PresenceStore: store.Presence(), ReportStore: store.Links(),
		links: store.Links(),
	}
}

// TestNewConnectionEndsOlderOneAtOtherInstance: a peer whose connection broke
// without notice connects to another instance. The first instance ends its
// session at once.
func TestNewConnectionEndsOlderOneAtOtherInstance(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one, two := join(t, store, "one"), join(t, store, "two")
		one.connect(bob, one.Now())
		waittest.Until(t, "two sees bob", func() bool { return two.online(t, bob) })
		two.connect(bob, two.Now().Add(time.Second))
		waittest.Until(t, "one has ended the session of bob", func() bool {
			return slices.Contains(one.movedPeers(), bob)
		})
		if len(two.movedPeers()) > 0 {
			t.Error("two has ended the newer session too")
		}
	})
}

// TestLinkEndsWithLeaseOfItsDialer: messages of an instance that was paused past
// its lease are dropped.
func TestLinkEndsWithLeaseOfItsDialer(t *testing.T) {
	store := newSQLite(t)
	two := join(t, store, "two")
	two.set(bob, time.Now())
	epoch, err := store.TakeLease(t.Context(), presence.Instance{Name: "paused"}, time.Now(), leaseTTL)
	if err != nil {
		t.Fatal(err)
	}
	config, err := ident.MutualTLS(key(t, 77), alpn, func(ident.PeerID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", two.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	conn.Write(hello{wanted: two.Holder().Epoch, own: epoch, name: "paused"}.frame())
	conn.Write(forward{id: 1, to: bob}.frame())
	if m, err := readFrame(conn); err != nil || m != (result{id: 1}) {
		t.Fatalf("while the lease is held: %#v, %v", m, err)
	}
	if err := store.ReleaseLease(t.Context(), presence.Holder{Instance: "paused", Epoch: epoch}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "two knows that the lease has ended", func() bool {
		return !two.members.reached("paused", epoch)
	})
	conn.Write(forward{id: 2, to: bob}.frame())
	if m, err := readFrame(conn); err == nil {
		t.Errorf("after the lease has ended: %#v", m)
	}
	if n := len(two.received()); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
}

// skewedLeases is a store whose clock differs from this machine's.
type skewedLeases struct {
	LeaseStore
	offset time.Duration
}

func (s skewedLeases) Clock(ctx context.Context) (time.Time, error) {
	now, err := s.LeaseStore.Clock(ctx)
	return now.Add(s.offset), err
}

// TestStoreClockOrdersConnections: an instance on a machine whose clock is an
// hour off uses the same time as the others.
func TestStoreClockOrdersConnections(t *testing.T) {
	store := newSQLite(t)
	store.LeaseStore = skewedLeases{store.LeaseStore, time.Hour}
	n := join(t, store, "one")
	first := n.Now()
	if off := time.Until(first) - time.Hour; off.Abs() > time.Minute {
		t.Errorf("the time of the instance is %s off that of the store", off)
	}
	if second := n.Now(); second.Before(first) {
		t.Errorf("Now returns %s after %s", second, first)
	}
}

// TestMessagesDoNotWaitForConfirmations: many messages are under way at a time.
// They arrive in order, although none is confirmed before the last one arrives.
func TestMessagesDoNotWaitForConfirmations(t *testing.T) {
	store := newSQLite(t)
	one, two := join(t, store, "one"), join(t, store, "two")
	const n = 200
	two.confirmAfter(n)
	two.connect(bob, two.Now())
	waittest.Until(t, "one sees bob", func() bool { return one.online(t, bob) })
	results := make(chan error, n)
	var want []string
	for i := range n {
		body := string(rune('0' + i))
		want = append(want, alice.Short()+" "+body)
		one.Forward(t.Context(), alice, bob, []byte(body), func(err error) { results <- err })
	}
	for range n {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if got := two.received(); !slices.Equal(got, want) {
		t.Errorf("messages arrived as %q", got)
	}
}
