package peers_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/network"
	"github.com/easyfind-usb/easyfind/agent/internal/peers"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testAgent runs the peers of a store on loopback.
type testAgent struct {
	set   *peers.Set
	store *state.Store
	net   *network.Network

	mu   sync.Mutex            // guards down
	down map[ident.PeerID]bool // whether LinkChanged last reported no link
}

func newAgent(t *testing.T) *testAgent {
	t.Helper()
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := &testAgent{set: peers.NewSet(), store: store, down: map[ident.PeerID]bool{}}
	log := slog.New(slog.DiscardHandler)
	a.net, err = network.New(network.Config{
		Key: store.Key(), Listen: "127.0.0.1:0", TLSListen: "127.0.0.1:0", Accept: a.set.Accept, Logger: log,
		Trust: func(ident.PeerID) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	runner, err := peers.NewRunner(peers.Config{
		Set: a.set, Store: store, Network: a.net.ForPeers(), Logger: log,
		Host: func(ident.PeerID) session.Host { return nil },
		LinkChanged: func(id ident.PeerID, _ session.LinkStatus, up bool) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.down[id] = !up
		},
		DevicesChanged: func(ident.PeerID) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var joined sync.WaitGroup
	for _, part := range []func(context.Context) error{a.net.Run, runner.Run} {
		joined.Go(func() {
			if err := part(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		joined.Wait()
		store.Close()
	})
	return a
}

// pair pairs the agent with another one and waits until the peer runs.
func (a *testAgent) pair(t *testing.T, other *testAgent) ident.PeerID {
	t.Helper()
	key := other.store.Key()
	p := state.Peer{
		ID: key.ID(), PublicKey: key.Public(), Name: "other", PairedAt: time.Now(), Addresses: other.net.Direct(),
	}
	if _, err := a.store.AddPeer(p); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the peer runs", func() bool { return a.set.Get(p.ID) != nil })
	return p.ID
}

func TestPairedPeersGetLinkAndForgottenOnesLoseIt(t *testing.T) {
	a, b := newAgent(t), newAgent(t)
	bID, aID := a.pair(t, b), b.pair(t, a)
	_, release, err := a.set.Want(bID)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	waittest.Until(t, "both agents have a link", func() bool { return a.set.Linked(bID) && b.set.Linked(aID) })
	if err := b.store.ForgetPeer(aID); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the forgotten peer has stopped", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.set.Get(aID) == nil && b.down[aID]
	})
	waittest.Until(t, "the other agent notices", func() bool { return !a.set.Linked(bID) })
	if _, _, err := b.set.Want(aID); err == nil {
		t.Error("Want returns a session with a forgotten peer")
	}
	if _, lost := b.set.Lost(aID, "2-1"); !lost {
		t.Error("a forgotten holder is not lost")
	}
}

func TestLinkOfUnpairedPeerIsClosed(t *testing.T) {
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &closedLink{info: link.Info{Peer: key.ID()}}
	set := peers.NewSet()
	set.Accept(l)
	set.Deliver(key.ID(), []byte("ignored"))
	if l.reason == "" {
		t.Error("the link is still open")
	}
}

// closedLink records the reason of Close.
type closedLink struct {
	link.Link
	info   link.Info
	reason string
}

func (l *closedLink) Info() link.Info     { return l.info }
func (l *closedLink) Close(reason string) { l.reason = reason }
