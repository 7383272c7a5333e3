package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/subscriber"
)

// realm is short: it stands in answers to strangers.
const realm = "ef"

// Config is what a relay needs.
type Config struct {
	Sockets  *Sockets
	IP       netip.Addr     // the IPv4 address of relayed addresses, as peers reach it
	MinPort  uint16         // of relayed addresses; 0: 49152
	MaxPort  uint16         // of relayed addresses; 0: 65535
	Allow    []netip.Prefix // addresses beside the public internet's that may be relayed to
	Secret   []byte         // from which credentials are made, at least 16 bytes; the same on all instances
	Quota    int            // allocations of one peer; 0: 8
	Most     int            // allocations of all; 0: 4096
	PeerRate Rate           // of one peer
	Rate     Rate           // of all together
	// Alternate is the second address of Sockets as clients reach it, if they
	// were opened with one; IP is then the first.
	Alternate netip.Addr
	Logger    *slog.Logger
	Now       func() time.Time // nil: the machine's clock
}

// Bounds of TCP and TLS clients.
const (
	maxConns          = 4096 // of all sources
	maxConnsOfASource = 64
)

// Relay is the STUN and TURN server.
type Relay struct {
	// Static after New.
	sockets   *Sockets
	secret    []byte
	policy    policy
	table     *allocations
	answers   *limiter
	discovery *discovery // nil without
	logs      *logs
	log       *slog.Logger
	now       func() time.Time
	running   sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	sources map[netip.Prefix]int
	closed  bool
}

// New makes a relay. It starts nothing.
func New(c Config) (*Relay, error) {
	switch {
	case c.Sockets == nil || c.Logger == nil:
		return nil, errors.New("relay: sockets and a logger are needed")
	case !c.IP.Unmap().Is4() || c.IP.IsUnspecified():
		return nil, fmt.Errorf("relay address %s: want the IPv4 address by which peers reach this machine; set it with --relay-ip", c.IP)
	case len(c.Secret) < 16:
		return nil, errors.New("relay: the secret is too short")
	}
	if c.MinPort == 0 {
		c.MinPort = 49152
	}
	if c.MaxPort == 0 {
		c.MaxPort = 65535
	}
	if c.MinPort > c.MaxPort {
		return nil, fmt.Errorf("relay ports %d to %d: the first must not be above the last", c.MinPort, c.MaxPort)
	}
	if c.Quota == 0 {
		c.Quota = 8
	}
	if c.Most == 0 {
		c.Most = 4096
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	ip := c.IP.Unmap()
	return &Relay{
		sockets: c.Sockets,
		secret:  c.Secret,
		policy:  policy{allow: c.Allow, own: machineAddresses},
		table: &allocations{
			at: Range{IP: ip, First: c.MinPort, Last: c.MaxPort}, bind: bindable(ip), quota: c.Quota, most: c.Most,
			rate: c.PeerRate, budget: budget{rate: c.Rate}, life: maxLifetime, now: c.Now,
			accounts: map[ident.PeerID]*account{}, ports: map[uint16]*relayConn{}, revoked: map[ident.PeerID]time.Time{},
		},
		answers:   newLimiter(c.Now),
		discovery: c.Sockets.discovery(ip, c.Alternate),
		logs:      &logs{to: c.Logger, now: c.Now},
		log:       c.Logger,
		now:       c.Now,
		conns:     map[net.Conn]struct{}{},
		sources:   map[netip.Prefix]int{},
	}, nil
}

// Range is where this relay relays.
func (r *Relay) Range() Range { return r.table.at }

// SetNeighbours replaces the list of the relays of other instances: this one's
// clients may reach them, at whatever addresses they are.
func (r *Relay) SetNeighbours(ranges []Range) { r.table.neighbours.Store(&ranges) }

// Allocations is the number of allocations now.
func (r *Relay) Allocations() int { return r.table.count() }

// Revoke ends the allocations of a peer that was revoked at a moment. What was
// issued to it before then is good for nothing any more.
func (r *Relay) Revoke(id ident.PeerID, at time.Time) { r.table.revoke(id, at) }

// Run serves until ctx ends, and closes the sockets.
func (r *Relay) Run(ctx context.Context) error {
	failed := make(chan error, len(r.sockets.main)+4)
	serve := func(conn *net.UDPConn, at place) {
		if conn != nil {
			r.running.Go(func() { failed <- r.serve(conn, at, func(*door) (clients, error) { return newUDPClients(conn) }) })
		}
	}
	for _, conn := range r.sockets.main {
		serve(conn, place{0, 0})
	}
	serve(r.sockets.second, place{0, 1})
	serve(r.sockets.other[0], place{1, 0})
	serve(r.sockets.other[1], place{1, 1})
	r.running.Go(func() { failed <- r.accept(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	r.close()
	r.running.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("relay: a socket ended: %w", err)
}

// close ends everything.
func (r *Relay) close() {
	r.sockets.Close()
	r.mu.Lock()
	r.closed = true
	for conn := range r.conns {
		conn.Close()
	}
	r.mu.Unlock()
	r.table.close()
}

// accept takes TCP clients.
func (r *Relay) accept(ctx context.Context) error {
	for {
		conn, err := r.sockets.TCP.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			r.log.Warn("cannot accept a TURN client", "reason", err) // such as too many open files
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		r.running.Go(func() { r.Serve(conn) })
	}
}

// Serve runs one client's TCP or TLS connection until it ends, and closes it.
// Beyond the bounds for all connections and for those of one source it is
// closed at once.
func (r *Relay) Serve(conn net.Conn) {
	defer conn.Close()
	from, ok := addrPort(conn.RemoteAddr())
	if !ok {
		return
	}
	source := subscriber.Of(from.Addr())
	if !r.enter(conn, source) {
		return
	}
	defer r.leave(conn, source)
	if err := r.serve(conn, place{}, func(d *door) (clients, error) { return newFramed(conn, d), nil }); err != nil {
		r.log.Warn("cannot serve a TURN client", "reason", err)
	}
}

func (r *Relay) enter(conn net.Conn, source netip.Prefix) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.conns) >= maxConns || r.sources[source] >= maxConnsOfASource {
		return false
	}
	r.conns[conn] = struct{}{}
	r.sources[source]++
	return true
}

func (r *Relay) leave(conn net.Conn, source netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
	if r.sources[source]--; r.sources[source] == 0 {
		delete(r.sources, source)
	}
}
