package cluster

import (
	"context"
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func memory(t *testing.T) Store {
	t.Helper()
	store, err := sqlitestore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// TestAnOlderConnectionElsewhereIsEnded: a peer whose connection broke without a
// word connects to another instance; the one before learns of it at once.
func TestAnOlderConnectionElsewhereIsEnded(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one, two := join(t, store, "one"), join(t, store, "two")
		one.connect(bob, one.Now())
		waittest.Until(t, "two sees bob", func() bool { return two.online(t, bob) })
		two.connect(bob, two.Now().Add(time.Second))
		waittest.Until(t, "one has sent bob away", func() bool { return slices.Contains(one.sentAway(), bob) })
		if len(two.sentAway()) > 0 {
			t.Error("two has sent him away as well")
		}
	})
}

// TestAnEstablishedLinkEndsWithTheLease of the one that made it: what an
// instance that was paused had still to send is dropped.
func TestAnEstablishedLinkEndsWithTheLease(t *testing.T) {
	store := memory(t)
	two := join(t, store, "two")
	two.set(bob, time.Now())
	epoch, err := store.TakeLease(t.Context(), registry.Instance{Name: "paused"}, time.Now(), leaseTTL)
	if err != nil {
		t.Fatal(err)
	}
	here, _ := two.holder()
	config, err := ident.MutualTLS(key(t, 77), alpn, func(ident.PeerID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", two.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * patience))
	conn.Write(hello{wanted: here.Epoch, own: epoch, name: "paused"}.frame())
	conn.Write(forward{id: 1, to: bob}.frame())
	if m, err := readFrame(conn); err != nil || m != (result{id: 1}) {
		t.Fatalf("while the lease is held: %#v, %v", m, err)
	}
	if err := store.ReleaseLease(t.Context(), registry.Holder{Instance: "paused", Epoch: epoch}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the lease is known to be over", func() bool { return !two.isMember("paused", epoch) })
	conn.Write(forward{id: 2, to: bob}.frame())
	if m, err := readFrame(conn); err == nil {
		t.Errorf("after it was over: %#v", m)
	}
	if n := len(two.received()); n != 1 {
		t.Errorf("%d messages came through", n)
	}
}

// skewed is a store on a machine whose clock is another.
type skewed struct {
	Store
	by time.Duration
}

func (s skewed) Clock(ctx context.Context) (time.Time, error) {
	now, err := s.Store.Clock(ctx)
	return now.Add(s.by), err
}

// TestTheStoresClockCounts: a machine whose clock is an hour off orders the
// connections as the others do.
func TestTheStoresClockCounts(t *testing.T) {
	n := join(t, skewed{memory(t), time.Hour}, "one")
	first := n.Now()
	if off := time.Until(first) - time.Hour; off.Abs() > time.Minute {
		t.Errorf("its time is %s off the store's", off)
	}
	if again := n.Now(); again.Before(first) {
		t.Errorf("%s after %s", again, first)
	}
}

// TestNobodyWaitsForAnothersConfirmation: many messages are under way at a time,
// none of which is confirmed before the last has arrived, and in order.
func TestNobodyWaitsForAnothersConfirmation(t *testing.T) {
	store := memory(t)
	one, two := join(t, store, "one"), join(t, store, "two")
	const n = 200
	two.holdBack(n)
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
		t.Errorf("they came as %q", got)
	}
}
