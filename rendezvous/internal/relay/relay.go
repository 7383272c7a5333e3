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

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/policy"
)

// realm is short because it is part of answers to clients that have not authenticated.
const realm = "ef"

// Config describes a Relay. Sockets, IP, Secret and Logger are required.
type Config struct {
	Sockets        *Sockets
	IP             netip.Addr     // the IPv4 address of relayed addresses, as peers reach it
	MinPort        uint16         // of relayed addresses; 0: 49152
	MaxPort        uint16         // of relayed addresses; 0: 65535
	Allow          []netip.Prefix // networks that may be relayed to in addition to the public internet
	Secret         []byte         // for credentials, at least 16 bytes; the same on all instances
	Quota          int            // maximum number of allocations of one peer; 0: 8
	MaxAllocations int            // of all peers; 0: 4096
	PeerRate       limits.FlowRate
	Rate           limits.FlowRate // of all peers together
	// Alternate is the second address of Sockets as clients reach it, if they were opened with one. IP is then the
	// first.
	Alternate netip.Addr
	Logger    *slog.Logger
	Now       func() time.Time // nil: the machine's clock
}

// Bounds of TCP and TLS clients.
const (
	maxStreams          = 4096
	maxStreamsPerSource = 64
)

// acceptRetryInterval is the time between two attempts to accept a connection after one has failed.
const acceptRetryInterval = 100 * time.Millisecond

// Relay is the STUN and TURN server.
type Relay struct {
	// Static after New.
	sockets   *Sockets
	authority *policy.Authority
	addresses policy.Addresses
	answers   *policy.AnswerLimit
	table     *allocationTable
	discovery *discovery // may be nil
	streams   *limits.Counter[netip.Prefix]
	logs      *serverLog
	log       *slog.Logger
	now       func() time.Time
	running   sync.WaitGroup

	// Guarded by mu.
	mu     sync.Mutex
	conns  map[net.Conn]struct{} // of TCP and TLS clients
	closed bool
}

// Credentials allow one peer to allocate for a while.
type Credentials = policy.Credentials

// New returns a Relay. It starts nothing.
func New(c Config) (*Relay, error) {
	switch {
	case c.Sockets == nil || c.Logger == nil:
		return nil, errors.New("relay: Sockets and Logger are required")
	case !c.IP.Unmap().Is4() || c.IP.IsUnspecified():
		return nil, fmt.Errorf("relay address %s: want the IPv4 address by which peers reach this machine; "+
			"set it with --relay-ip", c.IP)
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
	if c.MaxAllocations == 0 {
		c.MaxAllocations = 4096
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.IP = c.IP.Unmap()
	authority := policy.NewAuthority(c.Secret, c.Now)
	return &Relay{
		sockets:   c.Sockets,
		authority: authority,
		addresses: policy.Addresses{Allow: c.Allow, Own: policy.MachineAddresses},
		answers:   policy.NewAnswerLimit(c.Now, netip.Addr.IsLoopback), // nobody can forge a loopback address
		table:     newAllocationTable(c, authority),
		discovery: c.Sockets.discovery(c.IP, c.Alternate),
		streams:   limits.NewCounter[netip.Prefix](maxStreamsPerSource, maxStreams),
		logs:      newServerLog(c.Logger, c.Now),
		log:       c.Logger,
		now:       c.Now,
		conns:     map[net.Conn]struct{}{},
	}, nil
}

// Range returns the relayed addresses of this relay.
func (r *Relay) Range() Range { return r.table.ports }

// SetNeighbours replaces the list of the relays of other instances. Clients of this relay may reach them at any
// address.
func (r *Relay) SetNeighbours(ranges []Range) { r.table.neighbours.Store(&ranges) }

// Allocations returns the current number of allocations.
func (r *Relay) Allocations() int { return r.table.count() }

// Issue returns new credentials for a peer.
func (r *Relay) Issue(id ident.PeerID) Credentials { return r.authority.Issue(id) }

// Issue returns new credentials for a peer at the relays that have a secret.
func Issue(secret []byte, id ident.PeerID, now time.Time) Credentials {
	return policy.NewAuthority(secret, func() time.Time { return now }).Issue(id)
}

// Revoke ends the allocations of a peer that was revoked at a moment. Credentials issued to it before are no longer
// valid.
func (r *Relay) Revoke(id ident.PeerID, at time.Time) {
	r.authority.Revoke(id, at)
	r.table.closeAll(id)
}

// Run serves until ctx ends, and closes the sockets.
func (r *Relay) Run(ctx context.Context) error {
	failed := make(chan error, len(r.sockets.main)+4)
	serve := func(conn *net.UDPConn, at place) {
		if conn != nil {
			r.running.Go(func() {
				failed <- r.serve(conn, at, func(*turnSocket) (clients, error) { return newUDPClients(conn) })
			})
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

// close closes all sockets and allocations.
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

// accept accepts TCP clients until the listener is closed.
func (r *Relay) accept(ctx context.Context) error {
	for {
		conn, err := r.sockets.TCP.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // for example because the process has too many open files
			r.log.Warn("cannot accept a TURN client", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(acceptRetryInterval):
			}
			continue
		}
		r.running.Go(func() { r.Serve(conn) })
	}
}

// Serve serves the TCP or TLS connection of one client until it ends, and closes it. It closes the connection at once
// if there are too many connections of all sources or of this one.
func (r *Relay) Serve(conn net.Conn) {
	defer conn.Close()
	from, ok := addrPort(conn.RemoteAddr())
	if !ok {
		return
	}
	source := limits.Prefix(from.Addr())
	if !r.streams.Enter(source) {
		return
	}
	defer r.streams.Leave(source)
	if !r.remember(conn) {
		return
	}
	defer r.forget(conn)
	err := r.serve(conn, place{}, func(t *turnSocket) (clients, error) { return newStreamClient(conn, t), nil })
	if err != nil {
		r.log.Warn("cannot serve a TURN client", "err", err)
	}
}

// remember registers a connection, so that close finds it. It reports false if the relay is closed.
func (r *Relay) remember(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.conns[conn] = struct{}{}
	}
	return !r.closed
}

func (r *Relay) forget(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}
