package hub

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Errors by which a Registry refuses a peer.
var (
	ErrUnknown = errors.New("the peer is not registered")
	ErrRevoked = errors.New("the peer has been revoked")
)

// Registry says who may connect and who may signal whom.
type Registry interface {
	// Admit returns nil for a peer that may connect, and otherwise ErrUnknown,
	// ErrRevoked or why it cannot tell.
	Admit(ctx context.Context, id ident.PeerID) error
	// Allowed reports whether owner lets other signal it.
	Allowed(ctx context.Context, owner, other ident.PeerID) (bool, error)
}

// Cluster knows the peers of other instances, and is told of those here.
type Cluster interface {
	// Now is the time by which a peer's connections to all instances are put in
	// order.
	Now() time.Time
	// Others reports whether there is another instance that peers can go to.
	Others(ctx context.Context) bool
	// Connected and Disconnected tell of a peer's connection to this instance,
	// since when it stands or stood. They do not block.
	Connected(id ident.PeerID, since time.Time)
	Disconnected(id ident.PeerID, since time.Time)
	// Path tells what a peer has said of its link to another, on the connection
	// that stands since then. It does not block.
	Path(id ident.PeerID, since time.Time, m signal.LinkReport)
	// Forward hands a message to a peer that is not here. It returns once the
	// message is on its way, and calls done once, perhaps before: with nil when
	// that peer has confirmed it, otherwise with a signal.Failure. Messages for
	// one peer arrive in order.
	Forward(ctx context.Context, from, to ident.PeerID, body []byte, done func(error))
}

// Config is what a hub needs.
type Config struct {
	Registry Registry
	Cluster  Cluster
	Features signal.Features // that peers are offered
	Logger   *slog.Logger
	Now      func() time.Time // nil: the machine's clock
	// Observe is told of each message of a peer here: whether it went to another
	// instance, nil or the signal.Failure it came to, and how long that took.
	// Nil is fine.
	Observe func(elsewhere bool, err error, took time.Duration)
}

// Bounds of a hub.
const (
	maxGreeting    = 4096             // connections whose peer is not known yet
	lookupTimeout  = 5 * time.Second  // of a question to the registry
	forwardTimeout = 7 * time.Second  // until a message is on its way to another instance
	confirmTimeout = 8 * time.Second  // between Deliver and Got
	writeTimeout   = 10 * time.Second // of what is queued for a peer
	byeTimeout     = 2 * time.Second  // of the last frame, and for what the peer has still to say
)

// Hub is this instance's sessions. Its methods may be called concurrently.
type Hub struct {
	// Static after New.
	registry Registry
	cluster  Cluster
	features signal.Features
	log      *slog.Logger
	now      func() time.Time
	consents *consents
	observe  func(elsewhere bool, err error, took time.Duration)
	greeting chan struct{} // a place for each connection that is not known yet
	serving  sync.WaitGroup

	// Guarded by mu.
	mu       sync.RWMutex
	peers    map[ident.PeerID]*session
	draining bool
}

// New makes a hub. It starts nothing.
func New(c Config) (*Hub, error) {
	if c.Registry == nil || c.Cluster == nil || c.Logger == nil {
		return nil, errors.New("hub: a registry, a cluster and a logger are needed")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observe == nil {
		c.Observe = func(bool, error, time.Duration) {}
	}
	return &Hub{
		registry: c.Registry,
		cluster:  c.Cluster,
		features: c.Features,
		log:      c.Logger,
		now:      c.Now,
		consents: newConsents(c.Registry, c.Now),
		observe:  c.Observe,
		greeting: make(chan struct{}, maxGreeting),
		peers:    map[ident.PeerID]*session{},
	}, nil
}

// Serve finds out which peer is at the other end of a connection whose TLS
// handshake is complete, and has its session run from then on, until that ends
// and closes the connection. ctx ends nothing but what a session asks of others;
// who closes the connections, or drains the hub, ends the sessions.
func (h *Hub) Serve(ctx context.Context, conn *tls.Conn) {
	bound, err := signal.BoundToTLS(conn.ConnectionState())
	if err != nil {
		h.log.Debug("refused a signalling connection", "remote", conn.RemoteAddr(), "reason", err)
		conn.Close()
		return
	}
	h.serve(ctx, overTLS{conn}, bound, func() {})
}

// wire is a peer's connection.
type wire interface {
	net.Conn
	// CloseWrite says that nothing more will be written.
	CloseWrite() error
	// abort ends it without a word, and wakes who reads or writes.
	abort()
}

type overTLS struct{ *tls.Conn }

func (c overTLS) abort() { c.NetConn().Close() }

// serve is Serve of any connection on which a Hello is bound to what is said.
// ended is called when the connection has ended.
func (h *Hub) serve(ctx context.Context, conn wire, bound signal.Binding, ended func()) {
	if !h.begin() {
		conn.SetWriteDeadline(time.Now().Add(byeTimeout))
		conn.Write(signal.AppendFromRendezvous(nil, byeDraining))
		conn.Close()
		ended()
		return
	}
	frames := signal.NewReader(conn)
	s := h.admit(ctx, conn, frames, bound)
	if s == nil {
		conn.Close()
		h.serving.Done()
		ended()
		return
	}
	// A goroutine of its own, whose stack has not grown for a signature: an idle
	// session's costs a quarter of that.
	go func() {
		defer h.serving.Done()
		defer ended()
		s.run(ctx, frames)
	}()
}

// begin counts a connection, unless the hub takes none any more.
func (h *Hub) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.draining {
		h.serving.Add(1)
	}
	return !h.draining
}

// admit makes the session of whoever connected, nil if it is refused.
func (h *Hub) admit(ctx context.Context, conn wire, frames *signal.Reader, bound signal.Binding) *session {
	select {
	case h.greeting <- struct{}{}:
	default:
		return nil // a flood of strangers; those who belong try again
	}
	id, bye := h.greet(ctx, conn, frames, bound)
	<-h.greeting
	if bye != nil {
		h.log.Debug("refused a signalling connection", "remote", conn.RemoteAddr(), "reason", bye.Text)
		conn.SetWriteDeadline(time.Now().Add(byeTimeout))
		conn.Write(signal.AppendFromRendezvous(nil, *bye))
		return nil
	}
	frames.Greeted()
	return newSession(h, id, conn)
}

// greet challenges whoever connected and returns the peer it is, or why it is
// refused.
func (h *Hub) greet(ctx context.Context, conn wire, frames *signal.Reader, bound signal.Binding) (ident.PeerID, *signal.Bye) {
	conn.SetDeadline(time.Now().Add(signal.HelloTimeout))
	challenge := signal.Challenge{Time: h.now().Truncate(time.Millisecond)}
	rand.Read(challenge.Nonce[:]) // never fails: crypto/rand ends the program instead
	if _, err := conn.Write(signal.AppendFromRendezvous(nil, challenge)); err != nil {
		return ident.PeerID{}, &signal.Bye{Code: signal.ByeProtocol, Text: "the challenge could not be written"}
	}
	m, err := frames.FromPeer()
	if err != nil {
		return ident.PeerID{}, &signal.Bye{Code: signal.ByeProtocol, Text: fmt.Sprintf("no Hello came: %v", err)}
	}
	hello, ok := m.(signal.Hello)
	if !ok {
		return ident.PeerID{}, &signal.Bye{Code: signal.ByeProtocol, Text: "the first message must be a Hello"}
	}
	id, err := hello.Verify(challenge, bound, h.now())
	if err != nil {
		return id, &signal.Bye{Code: signal.ByeRefused, Text: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	switch err := h.registry.Admit(ctx, id); {
	case err == nil:
		conn.SetDeadline(time.Time{})
		return id, nil
	case errors.Is(err, ErrUnknown):
		return id, &signal.Bye{Code: signal.ByeNotRegistered, Text: "this key is not registered here: register it with an invite"}
	case errors.Is(err, ErrRevoked):
		return id, &signal.Bye{Code: signal.ByeRevoked, Text: "the operator has revoked this peer: ask for a new invite"}
	default:
		h.log.Warn("cannot tell whether a peer may connect", "peer", id.Short(), "reason", err)
		return id, &signal.Bye{Code: signal.ByeUnavailable, Text: "the rendezvous cannot reach its database at the moment: it is tried again"}
	}
}

// enter makes s the session of its peer and sends the older one away. It
// reports whether the hub still takes sessions.
func (h *Hub) enter(s *session) bool {
	h.mu.Lock()
	if h.draining {
		h.mu.Unlock()
		return false
	}
	older := h.peers[s.id]
	h.peers[s.id] = s
	h.cluster.Connected(s.id, s.since) // under the lock: these two must not overtake each other
	h.mu.Unlock()
	if older != nil {
		older.bye(signal.ByeReplaced, "the same peer has connected anew")
	}
	return true
}

// leave ends the presence of s, unless a newer session has replaced it.
func (h *Hub) leave(s *session) {
	h.mu.Lock()
	current := h.peers[s.id] == s
	if current {
		delete(h.peers, s.id)
		h.cluster.Disconnected(s.id, s.since)
	}
	h.mu.Unlock()
}

func (h *Hub) session(id ident.PeerID) *session {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.peers[id]
}

// Online reports whether a peer is connected to this instance.
func (h *Hub) Online(id ident.PeerID) bool { return h.session(id) != nil }

// Count is the number of peers connected to this instance.
func (h *Hub) Count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.peers)
}

// Peers lists those connected to this instance, and since when.
func (h *Hub) Peers() map[ident.PeerID]time.Time {
	h.mu.RLock()
	defer h.mu.RUnlock()
	peers := make(map[ident.PeerID]time.Time, len(h.peers))
	for id, s := range h.peers {
		peers[id] = s.since
	}
	return peers
}

// Deliver queues a message, at most signal.MaxBody bytes, for a peer here. done
// is called once, from any
// goroutine and perhaps at once: with nil when the peer has confirmed the
// message, otherwise with a signal.Failure. Whoever calls it has asked for the
// peer's consent. It does not block.
func (h *Hub) Deliver(from, to ident.PeerID, body []byte, done func(error)) {
	if s := h.session(to); s != nil {
		s.deliver(from, body, done)
		return
	}
	done(signal.FailureOffline)
}

// Revoke ends the session of a peer that is not welcome any more.
func (h *Hub) Revoke(id ident.PeerID) {
	if s := h.session(id); s != nil {
		s.bye(signal.ByeRevoked, "the operator has revoked this peer")
	}
}

// Wait takes no connection from now on, and waits until the sessions have ended
// whose connections are closed.
func (h *Hub) Wait() {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	h.serving.Wait()
	h.consents.asking.Wait()
}
