package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Errors with which a Registry refuses a peer.
var (
	ErrUnknown = errors.New("the peer is not registered")
	ErrRevoked = errors.New("the peer has been revoked")
)

// Route names the sender and the receiver of a message.
type Route struct{ From, To ident.PeerID }

// Registry decides which peers may connect, and which peers may send messages to which.
type Registry interface {
	// Admit returns nil for a peer that may connect, and ErrUnknown or ErrRevoked for one that may not. Other errors
	// mean that the registry cannot decide.
	Admit(ctx context.Context, id ident.PeerID) error
	// Allowed reports whether the receiver of a route accepts messages of the sender.
	Allowed(ctx context.Context, r Route) (bool, error)
}

// Cluster reaches the peers of other instances, and learns of the peers of this one.
type Cluster interface {
	// Now returns the time by which the connections of a peer to all instances are ordered.
	Now() time.Time
	// Others reports whether there is another instance that peers can connect to.
	Others(ctx context.Context) bool
	// Connected and Disconnected announce a connection of a peer to this instance and its end. since identifies the
	// connection. They do not block.
	Connected(id ident.PeerID, since time.Time)
	Disconnected(id ident.PeerID, since time.Time)
	// ReportLink passes on what a peer has reported about its link to another peer, on the connection that began at
	// since. It does not block.
	ReportLink(id ident.PeerID, since time.Time, m signal.LinkReport)
	// Forward sends a message to a peer of another instance. It returns once the message is sent, and calls done
	// once, perhaps before it returns: with nil when that peer has confirmed the message, and otherwise with a
	// signal.Failure. Messages for one peer arrive in order.
	Forward(ctx context.Context, from, to ident.PeerID, body []byte, done func(error))
}

// Config describes a Hub. Registry, Cluster and Logger are required.
type Config struct {
	Registry Registry
	Cluster  Cluster
	Features signal.Features // that the hub offers to peers
	Logger   *slog.Logger
	Now      func() time.Time // nil: the machine's clock
	// Observe is called for each message of a peer of this instance: with whether the message went to another instance,
	// with its result, which is nil or a signal.Failure, and with the time until that. May be nil.
	Observe func(elsewhere bool, err error, took time.Duration)
}

// Bounds of a hub.
const (
	maxGreeting    = 4096             // connections whose peer is not known yet
	lookupTimeout  = 5 * time.Second  // of a question to the registry
	forwardTimeout = 7 * time.Second  // until a message is on its way to another instance
	confirmTimeout = 8 * time.Second  // between Deliver and Got
	writeTimeout   = 10 * time.Second // of the frames queued for a peer
	byeTimeout     = 2 * time.Second  // of the last frame, and then for the last frames of the peer
)

// Hub holds the signalling connections of one instance. Its methods may be called concurrently.
type Hub struct {
	// Static after New.
	registry  Registry
	cluster   Cluster
	features  signal.Features
	log       *slog.Logger
	now       func() time.Time
	consents  *consents
	observe   func(elsewhere bool, err error, took time.Duration)
	greetings chan struct{} // holds one value for each connection whose peer is not known yet
	serving   sync.WaitGroup

	// Guarded by mu.
	mu       sync.RWMutex
	peers    map[ident.PeerID]*connection
	draining bool
}

// New returns a Hub. It starts nothing.
func New(c Config) (*Hub, error) {
	if c.Registry == nil || c.Cluster == nil || c.Logger == nil {
		return nil, errors.New("hub: Registry, Cluster and Logger are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observe == nil {
		c.Observe = func(bool, error, time.Duration) {}
	}
	return &Hub{
		registry:  c.Registry,
		cluster:   c.Cluster,
		features:  c.Features,
		log:       c.Logger,
		now:       c.Now,
		consents:  newConsents(c.Registry, c.Now),
		observe:   c.Observe,
		greetings: make(chan struct{}, maxGreeting),
		peers:     map[ident.PeerID]*connection{},
	}, nil
}

// Serve serves a signalling connection whose TLS handshake is complete. It finds out which peer has connected, and
// returns; a goroutine then serves the peer until the connection ends, and closes it. ctx bounds only the questions to
// the registry and the cluster. To end the connection, close it or drain the hub.
func (h *Hub) Serve(ctx context.Context, conn *tls.Conn) {
	bound, err := signal.BoundToTLS(conn.ConnectionState())
	if err != nil {
		h.log.Debug("refused a signalling connection", "remote_addr", conn.RemoteAddr(), "err", err)
		conn.Close()
		return
	}
	h.serve(ctx, tlsStream{conn}, bound, func() {})
}

// stream is the byte stream between a peer and the hub.
type stream interface {
	net.Conn
	// CloseWrite signals that nothing more will be written.
	CloseWrite() error
	// abort closes the stream immediately, and makes blocked calls fail.
	abort()
}

// tlsStream is a stream over a TLS connection.
type tlsStream struct{ *tls.Conn }

func (s tlsStream) abort() { s.NetConn().Close() }

// serve is Serve for any kind of stream, on which a Hello must have the given binding. It calls ended when the
// connection has ended.
func (h *Hub) serve(ctx context.Context, s stream, bound signal.Binding, ended func()) {
	if !h.begin() {
		s.SetWriteDeadline(time.Now().Add(byeTimeout))
		s.Write(signal.AppendFromRendezvous(nil, byeDraining))
		s.Close()
		ended()
		return
	}
	frames := signal.NewReader(s)
	c := h.admit(ctx, s, frames, bound)
	if c == nil {
		s.Close()
		h.serving.Done()
		ended()
		return
	}
	// The check of the signature has grown the stack of this goroutine. A new goroutine for an idle connection needs a
	// quarter of that memory.
	go func() {
		defer h.serving.Done()
		defer ended()
		c.run(ctx, frames)
	}()
}

// begin counts a connection. It reports false if the hub is draining.
func (h *Hub) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.draining {
		h.serving.Add(1)
	}
	return !h.draining
}

// enter makes c the connection of its peer and ends an older one. It reports false if the hub is draining.
func (h *Hub) enter(c *connection) bool {
	h.mu.Lock()
	if h.draining {
		h.mu.Unlock()
		return false
	}
	older := h.peers[c.peer]
	h.peers[c.peer] = c
	h.cluster.Connected(c.peer, c.since) // under the lock, so that the order of these calls is that of the map
	h.mu.Unlock()
	if older != nil {
		older.bye(byeReplaced)
	}
	return true
}

// leave ends the presence of a connection's peer, unless a newer connection has replaced c.
func (h *Hub) leave(c *connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.peers[c.peer] == c {
		delete(h.peers, c.peer)
		h.cluster.Disconnected(c.peer, c.since)
	}
}

// connection returns the connection of a peer, or nil.
func (h *Hub) connection(id ident.PeerID) *connection {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.peers[id]
}

// Online reports whether a peer is connected to this instance.
func (h *Hub) Online(id ident.PeerID) bool { return h.connection(id) != nil }

// Count returns the number of peers connected to this instance.
func (h *Hub) Count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.peers)
}

// Peers returns the peers connected to this instance, and when their connections began.
func (h *Hub) Peers() map[ident.PeerID]time.Time {
	h.mu.RLock()
	defer h.mu.RUnlock()
	peers := make(map[ident.PeerID]time.Time, len(h.peers))
	for id, c := range h.peers {
		peers[id] = c.since
	}
	return peers
}

// Deliver queues a message of at most signal.MaxBody bytes for a peer of this instance. The caller must have checked
// that the peer accepts messages of the sender. done is called once, from any goroutine and perhaps before Deliver
// returns: with nil when the peer has confirmed the message, and otherwise with a signal.Failure. Deliver does not
// block.
func (h *Hub) Deliver(from, to ident.PeerID, body []byte, done func(error)) {
	if c := h.connection(to); c != nil {
		c.deliver(from, body, done)
		return
	}
	done(signal.FailureOffline)
}

// Revoke ends the connection of a peer that has been revoked.
func (h *Hub) Revoke(id ident.PeerID) {
	if c := h.connection(id); c != nil {
		c.bye(signal.Bye{Code: signal.ByeRevoked, Text: "the operator has revoked this peer"})
	}
}

// Wait refuses new connections, and waits until all connections have ended. It does not end them.
func (h *Hub) Wait() {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	h.serving.Wait()
	h.consents.lookups.Wait()
}
