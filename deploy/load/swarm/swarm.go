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

// Config is what a swarm needs.
type Config struct {
	Join api.JoinLink
	// Hosts are the addresses that peers connect to in turn, the next one where
	// one does not answer, as those of one name would be; none is the join
	// link's.
	Hosts []string
	// Sources is the network from whose addresses the peers connect, each from
	// one of its own: a rendezvous limits what one address may do, and from one
	// address at most some 28,000 connections lead to another. It must be this
	// machine's, as all of 127.0.0.0/8 is. The zero value leaves the source to
	// the system.
	Sources netip.Prefix
	// Resume has the peers keep what they need to resume their TLS sessions.
	Resume bool
	Logger *slog.Logger
}

// Bounds of what a swarm waits for.
const (
	dialTimeout = 10 * time.Second // TCP and TLS, then Challenge to Welcome; that of the agent
	callTimeout = 20 * time.Second // of one request
	writeWait   = 5 * time.Second
	maxOpening  = 1024 // peers in a handshake: these share the cores that real ones do not
)

// Swarm is many peers of one rendezvous. Its methods may be called concurrently.
type Swarm struct {
	// Static after New.
	dialer
	resume  bool
	log     *slog.Logger
	began   time.Time       // moments are counted from here
	life    context.Context // of the peers' connections
	end     context.CancelFunc
	living  sync.WaitGroup
	opening chan struct{} // a place for each peer in a handshake

	online  atomic.Int64
	lost    atomic.Int64
	moved   atomic.Int64
	pings   atomic.Int64
	silent  atomic.Int64 // connections that ended for want of a Pong
	traffic atomic.Pointer[traffic]

	// Guarded by mu.
	mu      sync.Mutex
	peers   []*Peer        // those that Connect has taken
	lastErr error          // why a peer is not connected
	reasons map[string]int // why connections were lost, and how many
	pinging bool
}

// Peer is one simulated agent.
type Peer struct {
	// Static after Register.
	ID     ident.PeerID
	swarm  *Swarm
	key    ident.Key
	token  string
	source netip.Addr
	cache  tls.ClientSessionCache // nil unless sessions are resumed
	only   int                    // the index of the host that it connects to; anyHost for all in turn

	// The moments, in nanoseconds since the swarm began, of the last connection
	// and of its loss; 0 for never.
	connected, lost atomic.Int64
	host            atomic.Int32 // the index of the host it is or was connected to

	// Guarded by mu.
	mu     sync.Mutex
	conn   *tls.Conn // nil while not connected
	waits  bool      // for a Pong
	lastID uint32
	sent   map[uint32]outgoing // messages that are not answered; nil without
}

// outgoing is a message that is not answered yet.
type outgoing struct {
	at     time.Time
	number uint64
	on     *tls.Conn
}

// New makes a swarm without peers. It starts nothing.
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
	s.tls.ServerName = name // the same whichever of the hosts is dialed
	if s.sources.IsValid() {
		var random [8]byte
		rand.Read(random[:]) // never fails: crypto/rand ends the program instead
		s.sourced.Store(binary.BigEndian.Uint64(random[:]))
	}
	s.reasons = map[string]int{}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close ends all connections and waits until they have ended. What is
// registered stays so; see Remove.
func (s *Swarm) Close() {
	s.end()
	s.living.Wait()
}

// Online is how many peers are connected now.
func (s *Swarm) Online() int { return int(s.online.Load()) }

// Lost is how many connections were lost so far.
func (s *Swarm) Lost() int { return int(s.lost.Load()) }

// Moved is how many connections were left for one to another instance, because
// the rendezvous said so.
func (s *Swarm) Moved() int { return int(s.moved.Load()) }

// Reasons is why connections were lost so far, and how many for each reason.
func (s *Swarm) Reasons() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.reasons)
}

// Pings is how many pings were sent so far, and how many connections were given
// up because no answer came.
func (s *Swarm) Pings() (sent, silent int) { return int(s.pings.Load()), int(s.silent.Load()) }

// now is the moment, counted from the swarm's beginning and never 0.
func (s *Swarm) now() int64 { return max(1, int64(time.Since(s.began))) }

// Bind has peers connect to one host only, by its index, from their next
// connection on. It must not be called while they are connected.
func (s *Swarm) Bind(peers []*Peer, host int) {
	for _, p := range peers {
		p.only = host
	}
}

// each runs f for the numbers below n in so many goroutines and returns the
// first error, after which no more begin.
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
