package swarm

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Config configures a swarm.
type Config struct {
	Join api.JoinLink
	// Hosts are the addresses to which peers connect in turn, like the addresses of one DNS
	// name: if one does not answer, the peer tries the next. Default: the host of the join
	// link.
	Hosts []string
	// Sources is the network of source addresses; each peer has its own. A rendezvous limits
	// each address, and one address can have at most about 28,000 connections to another. The
	// network must belong to this machine, as 127.0.0.0/8 does. With the zero value the
	// system chooses the source.
	Sources netip.Prefix
	// Resume lets the peers resume their TLS sessions.
	Resume bool
	Logger *slog.Logger
}

// Bounds.
const (
	dialTimeout = 10 * time.Second // for TCP and TLS, then for Challenge to Welcome; as in the agent
	callTimeout = 20 * time.Second // for one request
	writeWait   = 5 * time.Second
	maxOpening  = 1024 // peers in a handshake, which share the cores of this machine
)

// Swarm is a set of simulated agents of one rendezvous. It is safe for concurrent use.
type Swarm struct {
	// Immutable after New.
	dialer
	resume  bool
	log     *slog.Logger
	began   time.Time       // times are relative to this
	life    context.Context // ends with Close
	end     context.CancelFunc
	living  sync.WaitGroup
	opening chan struct{} // a place for each peer in a handshake

	online  atomic.Int64
	lost    atomic.Int64
	moved   atomic.Int64
	pings   atomic.Int64
	silent  atomic.Int64 // connections that ended because a Pong was missing
	traffic atomic.Pointer[traffic]

	// Guarded by mu.
	mu      sync.Mutex
	peers   []*Peer        // those that Connect has taken
	lastErr error          // why some peer is not connected
	reasons map[string]int // lost connections by reason
	pinging bool
}

// Peer is one simulated agent.
type Peer struct {
	// Immutable after Register.
	ID     ident.PeerID
	swarm  *Swarm
	key    ident.Key
	token  string
	source netip.Addr
	cache  tls.ClientSessionCache // nil unless sessions are resumed
	only   int                    // the index of its only host, or anyHost

	// The times of the last connection and of its loss, in nanoseconds since the swarm
	// began; 0 is never.
	connected, lost atomic.Int64
	host            atomic.Int32 // the index of the last host

	// Guarded by mu.
	mu     sync.Mutex
	conn   *tls.Conn // nil while not connected
	waits  bool      // for a Pong
	lastID uint32
	sent   map[uint32]pendingMessage // unanswered messages; nil if there are none
}

// pendingMessage is an unanswered message.
type pendingMessage struct {
	at     time.Time
	number uint64
	on     *tls.Conn
}

// New returns a swarm without peers. It starts nothing.
func New(c Config) (*Swarm, error) {
	if c.Join.Host == "" {
		return nil, errors.New("swarm: no rendezvous")
	}
	s := &Swarm{
		dialer: dialer{join: c.Join, hosts: c.Hosts, sources: c.Sources.Masked()},
		resume: c.Resume, log: c.Logger, began: time.Now(), opening: make(chan struct{}, maxOpening),
	}
	if len(s.hosts) == 0 {
		s.hosts = []string{c.Join.Host}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS13}
	if c.Join.Pin != nil {
		s.tls = ident.PinnedTLS(*c.Join.Pin)
	}
	name, _, err := net.SplitHostPort(c.Join.Host)
	if err != nil {
		return nil, fmt.Errorf("swarm: address of the rendezvous: %w", err)
	}
	s.tls.ServerName = name // the same for all hosts
	if s.sources.IsValid() {
		var random [8]byte
		rand.Read(random[:]) // cannot fail: crypto/rand ends the program instead
		s.sourced.Store(binary.BigEndian.Uint64(random[:]))
	}
	s.reasons = map[string]int{}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close closes all connections and waits for them. Registrations remain; see Remove.
func (s *Swarm) Close() {
	s.end()
	s.living.Wait()
}

// Online returns the number of connected peers.
func (s *Swarm) Online() int { return int(s.online.Load()) }

// Lost returns the number of connections that were lost.
func (s *Swarm) Lost() int { return int(s.lost.Load()) }

// Moved returns the number of connections that were replaced by one to another instance
// on request of the rendezvous.
func (s *Swarm) Moved() int { return int(s.moved.Load()) }

// Reasons returns the number of lost connections by reason.
func (s *Swarm) Reasons() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.reasons)
}

// Pings returns the number of sent pings, and of connections that were closed because no
// answer came.
func (s *Swarm) Pings() (sent, silent int) { return int(s.pings.Load()), int(s.silent.Load()) }

// now returns the time since the swarm began in nanoseconds, never 0.
func (s *Swarm) now() int64 { return max(1, int64(time.Since(s.began))) }

// Bind makes peers connect only to the host with an index, from their next connection on.
// It must not be called while they are connected.
func (s *Swarm) Bind(peers []*Peer, host int) {
	for _, p := range peers {
		p.only = host
	}
}

// each calls f for 0 to n-1 on up to workers goroutines. After the first error it starts
// no further calls and returns that error.
func each(ctx context.Context, n, workers int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, workers) {
		all.Go(func() {
			for i := int(next.Add(1) - 1); i < n && ctx.Err() == nil; i = int(next.Add(1) - 1) {
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
