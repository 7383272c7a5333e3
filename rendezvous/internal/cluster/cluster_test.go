package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// testStore is a database of several instances.
type testStore struct {
	LeaseStore
	PresenceStore
	ReportStore
	links linkLister
}

// linkLister returns the links that were reported.
type linkLister interface {
	Pairs(ctx context.Context, q presence.PairQuery, now time.Time) ([]presence.Pair, error)
}

// instance is a member of a cluster.
type instance struct {
	*Cluster
	*sessions
	name    string
	address string // for links
	stop    func()
}

func (n *instance) connect(id ident.PeerID, since time.Time) {
	n.set(id, since)
	n.Connected(id, since)
}

func (n *instance) disconnect(id ident.PeerID, since time.Time) {
	n.drop(id)
	n.Disconnected(id, since)
}

func key(t *testing.T, seed byte) ident.Key {
	t.Helper()
	k, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// join starts an instance.
func join(t *testing.T, store testStore, name string) *instance {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	k, err := New(Config{
		Leases: store, Presence: store, Reports: store, Name: name, Listener: listener, Address: address,
		Key: key(t, 77), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &instance{Cluster: k, sessions: &sessions{peers: map[ident.PeerID]time.Time{}}, name: name, address: address}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, n.sessions) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of %s: %v", name, err)
		}
	})
	t.Cleanup(n.stop)
	waittest.Until(t, name+" has its lease", func() bool { return k.Ready() == nil })
	return n
}

// send forwards a message and waits for its result.
func (n *instance) send(t *testing.T, from, to ident.PeerID, body []byte) error {
	t.Helper()
	done := make(chan error, 1)
	n.Forward(t.Context(), from, to, body, func(err error) { done <- err })
	return waittest.Receive(t, "the result of a message", done)
}

// online reports whether an instance finds a peer at another instance.
func (n *instance) online(t *testing.T, id ident.PeerID) bool {
	t.Helper()
	online, err := n.Elsewhere(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return online
}

// locate returns where the store has a peer, or "".
func locate(t *testing.T, store testStore, id ident.PeerID) string {
	t.Helper()
	locations, err := store.LocatePeers(t.Context(), []ident.PeerID{id}, time.Now())
	if err != nil {
		t.Error(err)
	}
	return locations[id].Instance
}

// onEveryStore runs a test on SQLite and on Postgres.
func onEveryStore(t *testing.T, test func(t *testing.T, store testStore)) {
	t.Run("SQLite", func(t *testing.T) { test(t, newSQLite(t)) })
	t.Run("Postgres", func(t *testing.T) { test(t, newPostgres(t)) })
}

var (
	alice = ident.PeerID{1}
	bob   = ident.PeerID{2}
	carol = ident.PeerID{3}
)

func TestMessageReachesPeerOfAnotherInstance(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one, two := join(t, store, "one"), join(t, store, "two")
		two.connect(bob, time.Now())
		waittest.Until(t, "one sees bob", func() bool { return one.online(t, bob) })
		for _, body := range []string{"first", "second", "third"} {
			if err := one.send(t, alice, bob, []byte(body)); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
		}
		from := alice.Short()
		if !slices.Equal(two.received(), []string{from + " first", from + " second", from + " third"}) {
			t.Errorf("two got %q", two.received())
		}
	})
}

func TestPeersGoOfflineWhenTheirInstanceStops(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one, two := join(t, store, "one"), join(t, store, "two")
		two.connect(bob, time.Now())
		waittest.Until(t, "one sees bob", func() bool { return one.online(t, bob) })
		two.stop()
		if one.online(t, bob) {
			t.Error("bob is still online")
		}
		if err := one.send(t, alice, bob, nil); err == nil {
			t.Error("a message was confirmed by an instance that has stopped")
		}
	})
}

// TestOthersSeesNewInstanceAtOnce: an instance that stops calls Others, possibly
// a while after it last renewed its lease.
func TestOthersSeesNewInstanceAtOnce(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one := join(t, store, "one")
		for range 3 {
			if one.Others(t.Context()) {
				t.Error("a single instance sees another one")
			}
			two := join(t, store, "two")
			if !one.Others(t.Context()) || !two.Others(t.Context()) {
				t.Error("one of two instances does not see the other")
			}
			two.stop()
		}
	})
	store := newSQLite(t)
	failing := &failingLeases{LeaseStore: store.LeaseStore}
	store.LeaseStore = failing
	one, two := join(t, store, "one"), join(t, store, "two")
	waittest.Until(t, "one knows two", func() bool { return one.members.reached("two", two.Holder().Epoch) })
	failing.enabled.Store(true)
	if !one.Others(t.Context()) {
		t.Error("an instance forgets the others when the store does not answer")
	}
}

// failingLeases is a store that does not list the instances once it is enabled.
type failingLeases struct {
	LeaseStore
	enabled atomic.Bool
}

func (s *failingLeases) Instances(ctx context.Context, now time.Time) ([]presence.Instance, error) {
	if s.enabled.Load() {
		return nil, registry.ErrUnavailable
	}
	return s.LeaseStore.Instances(ctx, now)
}

func TestInstanceThatLostItsLeaseWritesItsPeersAgain(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store testStore) {
		one, two := join(t, store, "one"), join(t, store, "two")
		began := time.Now()
		two.connect(bob, began)
		two.connect(alice, began)
		waittest.Until(t, "one sees both", func() bool { return one.online(t, bob) && one.online(t, alice) })
		// This simulates a long pause of instance two: its lease has ended, and alice
		// has connected to another instance.
		before := two.Holder()
		if err := store.ReleaseLease(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		one.connect(alice, began.Add(time.Second))
		waittest.Until(t, "two has a new lease and bob is online", func() bool {
			return two.Ready() == nil && two.Holder().Epoch > before.Epoch && one.online(t, bob)
		})
		waittest.Until(t, "two has ended the session of alice", func() bool {
			return slices.Contains(two.movedPeers(), alice)
		})
		if at := locate(t, store, alice); at != "one" {
			t.Errorf("alice is at %q", at)
		}
	})
}

func TestLinkNeedsKeyAndCurrentLeases(t *testing.T) {
	store := newSQLite(t)
	one, two := join(t, store, "one"), join(t, store, "two")
	two.set(bob, time.Now())
	from, to := one.Holder().Epoch, two.Holder().Epoch
	good := hello{wanted: to, own: from, name: "one"}
	if err := tryLink(t, two.address, key(t, 77), good); err != nil {
		t.Fatalf("a good link: %v", err)
	}
	for name, c := range map[string]struct {
		key   ident.Key
		hello hello
	}{
		"another key":                 {key(t, 78), good},
		"another epoch of the callee": {key(t, 77), hello{wanted: to - 1, own: from, name: "one"}},
		"an expired lease":            {key(t, 77), hello{wanted: to, own: from - 1, name: "one"}},
		"an instance without a lease": {key(t, 77), hello{wanted: to, own: from, name: "eve"}},
	} {
		if err := tryLink(t, two.address, c.key, c.hello); err == nil {
			t.Errorf("%s: the link delivers messages", name)
		}
	}
	if n := len(two.received()); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
}

// tryLink dials an instance and forwards one message to bob.
func tryLink(t *testing.T, address string, k ident.Key, h hello) error {
	t.Helper()
	config, err := ident.MutualTLS(k, alpn, func(ident.PeerID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	conn.Write(h.frame())
	conn.Write(forward{id: 1, to: bob}.frame())
	m, err := readFrame(conn)
	if _, ok := m.(result); err == nil && !ok {
		err = fmt.Errorf("%T in place of a result", m)
	}
	return err
}
