package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/quiclink"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exchange delivers messages between the agents of a test, as the rendezvous does.
type exchange struct {
	mu     sync.Mutex
	agents map[ident.PeerID]*testAgent
	// route returns the receiver of a message and the sender that the receiver
	// sees. nil: the message goes to its receiver unchanged.
	route func(from, to ident.PeerID) (sender, receiver ident.PeerID)
	down  bool
}

var errDown = errors.New("the rendezvous is down")

func (x *exchange) send(from, to ident.PeerID, body []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.down {
		return errDown
	}
	if x.route != nil {
		from, to = x.route(from, to)
	}
	if a := x.agents[to]; a != nil {
		a.inbox <- message{from, body}
		return nil
	}
	return errors.New("the peer is offline")
}

type message struct {
	from ident.PeerID
	body []byte
}

// testAgent is the network part of an agent on loopback, with one peer.
type testAgent struct {
	key      ident.Key
	exchange *exchange
	inbox    chan message
	quic     *quiclink.Endpoint
	network  *Network
	peer     *Peer
	stop     func()

	direct     string                          // the direct address; empty: none
	dialDirect func(string) (link.Link, error) // nil: it fails

	mu    sync.Mutex
	links []bool // the arguments of LinkChanged
}

// Send implements Signaller.
func (a *testAgent) Send(_ context.Context, to ident.PeerID, body []byte) error {
	return a.exchange.send(a.key.ID(), to, body)
}

// Probe implements Signaller.
func (a *testAgent) Probe() {}

func newAgent(t *testing.T, x *exchange) *testAgent {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &testAgent{key: key, exchange: x, inbox: make(chan message, 64)}
	x.agents[key.ID()] = a
	return a
}

// run starts the agent with one peer. It trusts no other.
func (a *testAgent) run(t *testing.T, other ident.PeerID) {
	t.Helper()
	var err error
	a.quic, err = quiclink.NewEndpoint(quiclink.Config{
		Key: a.key, Listen: "127.0.0.1:0",
		Trust: func(id ident.PeerID) error {
			if id != other {
				return errors.New("not paired")
			}
			return nil
		},
		Accept: func(l link.Link) { a.peer.Accept(l) },
	})
	if err != nil {
		t.Fatal(err)
	}
	paths, err := path.New(path.Config{Conn: a.quic.NonQUIC(), AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	a.network = &Network{
		Self: a.key.ID(), Paths: paths, QUIC: a.quic, Signal: a,
		DialDirect: a.dial,
		Servers:    func(context.Context) ([]path.Server, error) { return nil, nil },
		Direct:     a.directAddresses,
	}
	a.peer, err = New(Config{
		Peer: other, Network: a.network, Addresses: func() []string { return nil },
		Logger: slog.New(slog.DiscardHandler), DevicesChanged: func() {},
		LinkChanged: func(_ session.LinkStatus, up bool) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.links = append(a.links, up)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var joined sync.WaitGroup
	for _, part := range []func(context.Context) error{a.quic.Run, paths.Run, a.peer.Run, a.deliver} {
		joined.Go(func() {
			if err := part(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	a.stop = func() { cancel(); joined.Wait() }
	t.Cleanup(a.stop)
}

// deliver passes on the messages whose sender is the peer.
func (a *testAgent) deliver(ctx context.Context) error {
	for {
		select {
		case m := <-a.inbox:
			if m.from == a.peer.cfg.Peer {
				a.peer.Deliver(m.body)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// until waits until the status meets a condition.
func (a *testAgent) until(t *testing.T, what string, condition func(Status) bool) {
	t.Helper()
	if !waittest.Eventually(func() bool { return condition(a.peer.Status()) }) {
		t.Fatalf("timeout: %s; status %+v", what, a.peer.Status())
	}
}

func linked(s Status) bool { return s.Session.Linked }

// pair runs two paired agents. The ID of a is lower than the ID of b.
func pair(t *testing.T) (a, b *testAgent) {
	x := &exchange{agents: map[ident.PeerID]*testAgent{}}
	a, b = newAgent(t, x), newAgent(t, x)
	if a.key.ID().Compare(b.key.ID()) > 0 {
		a, b = b, a
	}
	a.run(t, b.key.ID())
	b.run(t, a.key.ID())
	return a, b
}

// TestEitherPeerMayCall lets the peer with the lower ID call, then the one with the
// higher ID, then both at the same time.
func TestEitherPeerMayCall(t *testing.T) {
	for name, callers := range map[string]func(a, b *testAgent) []*testAgent{
		"lower":  func(a, _ *testAgent) []*testAgent { return []*testAgent{a} },
		"higher": func(_, b *testAgent) []*testAgent { return []*testAgent{b} },
		"both":   func(a, b *testAgent) []*testAgent { return []*testAgent{a, b} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			for _, caller := range callers(a, b) {
				defer caller.peer.Want()()
			}
			a.until(t, "linked", linked)
			b.until(t, "linked", linked)
			st := a.peer.Status()
			if got := st.Session.Links[0].Path; got.Rank != link.RankHost || got.Transport != "quic" {
				t.Errorf("path %+v", got)
			}
			if st.Reason != "" {
				t.Errorf("Reason = %q for the best path, want none", st.Reason)
			}
		})
	}
}

func TestUnwantedPeerIsNotCalled(t *testing.T) {
	a, b := pair(t)
	release := b.peer.Want()
	a.until(t, "linked", linked)
	release()
	a.exchange.mu.Lock()
	sent := false
	a.exchange.route = func(from, to ident.PeerID) (sender, receiver ident.PeerID) {
		sent = true
		return from, to
	}
	a.exchange.mu.Unlock()
	b.stop()
	a.until(t, "lost", func(s Status) bool { return !s.Session.Linked })
	a.exchange.mu.Lock()
	defer a.exchange.mu.Unlock()
	if sent {
		t.Error("an agent called a peer that nothing wanted")
	}
	a.until(t, "LinkChanged receives the link, and then that it is lost", func(Status) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return slices.Contains(a.links, true) && !a.links[len(a.links)-1]
	})
}

// TestCallsAreRepeatedUntilOneWorks starts while the rendezvous is down.
func TestCallsAreRepeatedUntilOneWorks(t *testing.T) {
	a, b := pair(t)
	a.exchange.mu.Lock()
	a.exchange.down = true
	a.exchange.mu.Unlock()
	defer a.peer.Want()()
	a.until(t, "it has a reason", func(s Status) bool { return strings.Contains(s.Reason, errDown.Error()) })
	a.exchange.mu.Lock()
	a.exchange.down = false
	a.exchange.mu.Unlock()
	a.until(t, "linked", linked)
	b.until(t, "linked", linked)
}

// TestMaliciousRendezvousCannotImpersonatePeer lets the rendezvous redirect the
// calls to an agent of its own. That agent follows the protocol but has another key.
func TestMaliciousRendezvousCannotImpersonatePeer(t *testing.T) {
	x := &exchange{agents: map[ident.PeerID]*testAgent{}}
	a, b, evil := newAgent(t, x), newAgent(t, x), newAgent(t, x)
	aID, bID, evilID := a.key.ID(), b.key.ID(), evil.key.ID()
	// In real life the agents could not decrypt the messages. Here they can, so
	// that the link itself must refuse the impostor.
	x.route = func(from, to ident.PeerID) (sender, receiver ident.PeerID) {
		switch from {
		case aID:
			return aID, evilID
		case evilID:
			return bID, aID
		}
		return from, to
	}
	a.run(t, bID)
	b.run(t, aID)
	evil.run(t, aID)
	defer a.peer.Want()()
	a.until(t, "it has a reason", func(s Status) bool { return s.Reason != "" })
	if s := a.peer.Status(); s.Session.Linked || evil.peer.Status().Session.Linked {
		t.Fatalf("a link to an impostor: %+v", s)
	}
	if why := a.peer.Reason(); !strings.Contains(why, "key") && !strings.Contains(why, "peer") {
		t.Errorf("the reason does not mention the wrong key: %s", why)
	}
}

// TestLinkAfterEndIsClosed accepts a link for a peer that has just been forgotten.
func TestLinkAfterEndIsClosed(t *testing.T) {
	a, b := pair(t)
	a.stop()
	l := &closableLink{info: link.Info{Peer: b.key.ID()}}
	a.peer.Accept(l)
	if l.reason == "" {
		t.Error("the link is still open")
	}
}

// TestLinkOverICEIsEqualToItselfAlone compares links as a session does that measures
// them: a link that cannot be compared would end the agent.
func TestLinkOverICEIsEqualToItselfAlone(t *testing.T) {
	var attempt iceAttempt
	one := attempt.keepFor(&closableLink{}, path.Result{Kind: path.KindRelayUDP})
	other := attempt.keepFor(&closableLink{}, path.Result{Kind: path.KindRelayUDP})
	if same := one; same != one || one == other {
		t.Error("a link is not equal to itself alone")
	}
}

// closableLink records the reason of Close.
type closableLink struct {
	link.Link
	info   link.Info
	reason string
}

func (l *closableLink) Info() link.Info     { return l.info }
func (l *closableLink) Close(reason string) { l.reason = reason }
