package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/quiclink"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// post is a rendezvous between the ends of a test: it delivers what is sent,
// unless the test changes where to.
type post struct {
	mu   sync.Mutex
	ends map[ident.PeerID]*end
	// route says who gets a message and whom it seems to come from; nil: as sent.
	route func(from, to ident.PeerID) (seen, receiver ident.PeerID)
	down  bool
}

var errDown = errors.New("the rendezvous is down")

func (p *post) send(from, to ident.PeerID, body []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return errDown
	}
	if p.route != nil {
		from, to = p.route(from, to)
	}
	if e := p.ends[to]; e != nil {
		e.inbox <- letter{from, body}
		return nil
	}
	return errors.New("the peer is offline")
}

type letter struct {
	from ident.PeerID
	body []byte
}

// end is an agent's worth of network on loopback, with one peer.
type end struct {
	key     ident.Key
	post    *post
	inbox   chan letter
	quic    *quiclink.Endpoint
	network *Network
	peer    *Peer
	stop    func()
}

// Send implements Signaller.
func (e *end) Send(_ context.Context, to ident.PeerID, body []byte) error {
	return e.post.send(e.key.ID(), to, body)
}

// Probe implements Signaller.
func (e *end) Probe() {}

func newEnd(t *testing.T, p *post) *end {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := &end{key: key, post: p, inbox: make(chan letter, 64)}
	p.ends[key.ID()] = e
	return e
}

// run starts the end with one peer, which it trusts and no other.
func (e *end) run(t *testing.T, other ident.PeerID) {
	t.Helper()
	var err error
	e.quic, err = quiclink.NewEndpoint(quiclink.Config{
		Key: e.key, Listen: "127.0.0.1:0",
		Trust: func(id ident.PeerID) error {
			if id != other {
				return errors.New("not paired")
			}
			return nil
		},
		Accept: func(l link.Link) { e.peer.Accept(l) },
	})
	if err != nil {
		t.Fatal(err)
	}
	paths, err := path.New(path.Config{Conn: e.quic.NonQUIC(), AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	e.network = &Network{
		Self: e.key.ID(), Paths: paths, QUIC: e.quic, Signal: e,
		DialDirect: func(context.Context, string, ident.PeerID) (link.Link, error) { return nil, net.ErrClosed },
		Servers:    func(context.Context) ([]path.Server, error) { return nil, nil },
		Direct:     func() []string { return nil },
	}
	e.peer, err = New(Config{
		Peer: other, Network: e.network, Addresses: func() []string { return nil },
		Logger: slog.New(slog.DiscardHandler), Changed: func() {}, News: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var joined sync.WaitGroup
	for _, part := range []func(context.Context) error{e.quic.Run, paths.Run, e.peer.Run, e.deliver} {
		joined.Go(func() {
			if err := part(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	e.stop = func() { cancel(); joined.Wait() }
	t.Cleanup(e.stop)
}

// deliver hands on letters that say they are from the peer.
func (e *end) deliver(ctx context.Context) error {
	for {
		select {
		case l := <-e.inbox:
			if l.from == e.peer.cfg.Peer {
				e.peer.Message(l.body)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *end) until(t *testing.T, what string, so func(Status) bool) {
	t.Helper()
	if !waittest.Eventually(func() bool { return so(e.peer.Status()) }) {
		t.Fatalf("never: %s; status %+v", what, e.peer.Status())
	}
}

func linked(s Status) bool { return s.Session.Linked }

func pair(t *testing.T) (a, b *end) {
	p := &post{ends: map[ident.PeerID]*end{}}
	a, b = newEnd(t, p), newEnd(t, p)
	if a.key.ID().Compare(b.key.ID()) > 0 {
		a, b = b, a
	}
	a.run(t, b.key.ID())
	b.run(t, a.key.ID())
	return a, b
}

// TestEitherEndMayCall lets the lower ID call, the higher one, and both at once.
func TestEitherEndMayCall(t *testing.T) {
	for name, callers := range map[string]func(a, b *end) []*end{
		"lower":  func(a, _ *end) []*end { return []*end{a} },
		"higher": func(_, b *end) []*end { return []*end{b} },
		"both":   func(a, b *end) []*end { return []*end{a, b} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			for _, e := range callers(a, b) {
				defer e.peer.Want()()
			}
			a.until(t, "linked", linked)
			b.until(t, "linked", linked)
			st := a.peer.Status()
			if got := st.Session.Links[0].Path; got.Rank != link.RankHost || got.Transport != "quic" {
				t.Errorf("path %+v", got)
			}
			if st.Why != "" {
				t.Errorf("the best path needs no excuse, but: %s", st.Why)
			}
		})
	}
}

func TestNothingIsCalledThatNobodyWants(t *testing.T) {
	a, b := pair(t)
	release := b.peer.Want()
	a.until(t, "linked", linked)
	release()
	a.post.mu.Lock()
	sent := false
	a.post.route = func(from, to ident.PeerID) (seen, receiver ident.PeerID) {
		sent = true
		return from, to
	}
	a.post.mu.Unlock()
	b.stop()
	a.until(t, "lost", func(s Status) bool { return !s.Session.Linked })
	a.post.mu.Lock()
	defer a.post.mu.Unlock()
	if sent {
		t.Error("a peer that nobody wants is called")
	}
}

// TestCallsAreRepeatedUntilOneWorks begins while the rendezvous is down.
func TestCallsAreRepeatedUntilOneWorks(t *testing.T) {
	a, b := pair(t)
	a.post.mu.Lock()
	a.post.down = true
	a.post.mu.Unlock()
	defer a.peer.Want()()
	a.until(t, "says why", func(s Status) bool { return strings.Contains(s.Why, errDown.Error()) })
	a.post.mu.Lock()
	a.post.down = false
	a.post.mu.Unlock()
	a.until(t, "linked", linked)
	b.until(t, "linked", linked)
}

// TestRedirectedCallsAuthenticateNobody has the rendezvous connect each end to an
// agent of its own, which speaks the protocol but has other keys.
func TestRedirectedCallsAuthenticateNobody(t *testing.T) {
	p := &post{ends: map[ident.PeerID]*end{}}
	a, b, evil := newEnd(t, p), newEnd(t, p), newEnd(t, p)
	aID, bID, evilID := a.key.ID(), b.key.ID(), evil.key.ID()
	// The envelopes would not open; here they do, so that the link itself is
	// what must refuse.
	p.route = func(from, to ident.PeerID) (seen, receiver ident.PeerID) {
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
	a.until(t, "says why", func(s Status) bool { return s.Why != "" })
	if s := a.peer.Status(); s.Session.Linked || evil.peer.Status().Session.Linked {
		t.Fatalf("a link to an impostor: %+v", s)
	}
	if why := a.peer.Status().Why; !strings.Contains(why, "key") && !strings.Contains(why, "peer") {
		t.Errorf("the reason does not tell: %s", why)
	}
}
