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
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

const patience = 10 * time.Second

// inbox is the sessions of an instance: peers that confirm what they get.
type inbox struct {
	mu    sync.Mutex
	peers map[ident.PeerID]time.Time
	got   []string // sender and body
	moved []ident.PeerID
	miss  func()        // before it says that a peer is not here; nil: nothing
	hold  int           // confirm nothing before so many have come; 0: at once
	held  []func(error) // what is not confirmed yet
}

func (i *inbox) holdBack(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hold = n
}

func (i *inbox) Deliver(from, to ident.PeerID, body []byte, done func(error)) {
	i.mu.Lock()
	_, here := i.peers[to]
	if !here {
		miss := i.miss
		i.mu.Unlock()
		if miss != nil {
			miss()
		}
		done(signal.FailureOffline)
		return
	}
	i.got = append(i.got, from.Short()+" "+string(body))
	i.held = append(i.held, done)
	var confirmed []func(error)
	if len(i.held) >= i.hold {
		confirmed, i.held = i.held, nil
	}
	i.mu.Unlock()
	for _, done := range confirmed {
		done(nil)
	}
}

func (i *inbox) Peers() map[ident.PeerID]time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	peers := map[ident.PeerID]time.Time{}
	for id, since := range i.peers {
		peers[id] = since
	}
	return peers
}

func (i *inbox) Moved(id ident.PeerID, _ time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.moved = append(i.moved, id)
}

func (i *inbox) received() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.got)
}

func (i *inbox) sentAway() []ident.PeerID {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.moved)
}

func (i *inbox) set(id ident.PeerID, since time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.peers[id] = since
}

func (i *inbox) drop(id ident.PeerID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.peers, id)
}

// instance is one of a cluster on a shared store.
type instance struct {
	*Cluster
	*inbox
	stop func()
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
func join(t *testing.T, store Store, name string) *instance {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(Config{
		Store: store, Name: name, Listener: listener, Address: listener.Addr().String(),
		Key: key(t, 77), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &instance{Cluster: k, inbox: &inbox{peers: map[ident.PeerID]time.Time{}}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, n.inbox) }()
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
	select {
	case err := <-done:
		return err
	case <-time.After(2 * resultWait):
		t.Fatal("no result")
		return nil
	}
}

func (n *instance) online(t *testing.T, id ident.PeerID) bool {
	t.Helper()
	is, err := n.Elsewhere(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// onEveryStore runs a test on each store that this machine has.
func onEveryStore(t *testing.T, test func(t *testing.T, store Store)) {
	t.Run("SQLite", func(t *testing.T) {
		store, err := sqlitestore.Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		test(t, store)
	})
	t.Run("Postgres", func(t *testing.T) { test(t, postgres(t)) })
}

var (
	alice = ident.PeerID{1}
	bob   = ident.PeerID{2}
	carol = ident.PeerID{3}
)

func TestAMessageReachesAPeerOfAnotherInstance(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one, two := join(t, store, "one"), join(t, store, "two")
		two.connect(bob, time.Now())
		waittest.Until(t, "one sees bob", func() bool { return one.online(t, bob) })
		for _, body := range []string{"first", "second", "third"} {
			if err := one.send(t, alice, bob, []byte(body)); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
		}
		if from := alice.Short(); !slices.Equal(two.received(), []string{from + " first", from + " second", from + " third"}) {
			t.Errorf("two got %q", two.received())
		}
	})
}

func TestAnInstanceThatStopsTakesItsPresenceAlong(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one, two := join(t, store, "one"), join(t, store, "two")
		two.connect(bob, time.Now())
		waittest.Until(t, "one sees bob", func() bool { return one.online(t, bob) })
		two.stop()
		if one.online(t, bob) {
			t.Error("bob is still online")
		}
		if err := one.send(t, alice, bob, nil); err == nil {
			t.Error("a message was forwarded to an instance that stopped")
		}
	})
}

// TestOthersAreKnownAtOnce: an instance that stops asks for them, and the last
// renewal of its lease may be a while ago.
func TestOthersAreKnownAtOnce(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one := join(t, store, "one")
		for range 3 {
			if one.Others(t.Context()) {
				t.Error("alone, it knows of another")
			}
			two := join(t, store, "two")
			if !one.Others(t.Context()) || !two.Others(t.Context()) {
				t.Error("one of two does not know of the other")
			}
			two.stop()
		}
	})
	store := &silent{Store: memory(t)}
	one, two := join(t, store, "one"), join(t, store, "two")
	waittest.Until(t, "one has heard of two", func() bool { return one.isMember("two", two.Holder().Epoch) })
	store.now.Store(true)
	if !one.Others(t.Context()) {
		t.Error("where the store does not answer, what was known is forgotten")
	}
}

// silent is a store that fails to say who is there, from now on.
type silent struct {
	Store
	now atomic.Bool
}

func (s *silent) Instances(ctx context.Context, now time.Time) ([]registry.Instance, error) {
	if s.now.Load() {
		return nil, registry.ErrUnavailable
	}
	return s.Store.Instances(ctx, now)
}

func TestAnInstanceThatLostItsLeaseWritesItsPeersUnderANewOne(t *testing.T) {
	onEveryStore(t, func(t *testing.T, store Store) {
		one, two := join(t, store, "one"), join(t, store, "two")
		began := time.Now()
		two.connect(bob, began)
		two.connect(alice, began)
		waittest.Until(t, "one sees both", func() bool { return one.online(t, bob) && one.online(t, alice) })
		// What happens to an instance that was paused too long: its lease is
		// over, and alice has found another instance meanwhile.
		before, _ := two.holder()
		if err := store.ReleaseLease(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		one.connect(alice, began.Add(time.Second))
		waittest.Until(t, "two has a new lease and bob is back", func() bool {
			after, held := two.holder()
			return held && after.Epoch > before.Epoch && one.online(t, bob)
		})
		waittest.Until(t, "two has sent alice away", func() bool { return slices.Contains(two.sentAway(), alice) })
		at, err := store.LocatePeers(t.Context(), []ident.PeerID{alice}, time.Now())
		if err != nil || at[alice].Instance != "one" {
			t.Errorf("alice is at %+v, %v", at[alice], err)
		}
	})
}

func TestForeignAndStaleLinksAreRefused(t *testing.T) {
	store, err := sqlitestore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	one, two := join(t, store, "one"), join(t, store, "two")
	two.set(bob, time.Now())
	here, _ := two.holder()
	there, _ := one.holder()
	good := hello{wanted: here.Epoch, own: there.Epoch, name: "one"}
	if err := tryLink(t, two.address, key(t, 77), good); err != nil {
		t.Fatalf("a good link: %v", err)
	}
	for name, c := range map[string]struct {
		key   ident.Key
		hello hello
	}{
		"a foreign key":             {key(t, 78), good},
		"another lease of this one": {key(t, 77), hello{wanted: here.Epoch - 1, own: there.Epoch, name: "one"}},
		"a lease that is over":      {key(t, 77), hello{wanted: here.Epoch, own: there.Epoch - 1, name: "one"}},
		"an unknown instance":       {key(t, 77), hello{wanted: here.Epoch, own: there.Epoch, name: "eve"}},
	} {
		if err := tryLink(t, two.address, c.key, c.hello); err == nil {
			t.Errorf("%s: it forwards", name)
		}
	}
	if n := len(two.received()); n != 1 {
		t.Errorf("%d messages came through", n)
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
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(h.frame())
	conn.Write(forward{id: 1, to: bob}.frame())
	m, err := readFrame(conn)
	if _, ok := m.(result); err == nil && !ok {
		err = fmt.Errorf("%T in place of a result", m)
	}
	return err
}
