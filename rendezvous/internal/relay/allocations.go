package relay

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Bounds of allocations.
const (
	maxPermissions = 64               // addresses one allocation may exchange packets with
	permissionKept = 10 * time.Minute // a channel's life, RFC 5766 section 11.2; a permission's is half of it
	abandoned      = 20 * time.Second // without a packet of its client an allocation gives way to a new one
	portDraws      = 64               // attempts to find a free port
	relayBuffer    = 1 << 20          // bytes of a relay socket's kernel buffers
)

var (
	errQuota = errors.New("the peer has as many allocations as it may have")
	errPorts = errors.New("no relay port is free")
)

// allocations is every allocation of this server.
type allocations struct {
	// Static.
	at    Range      // what clients are told
	bind  netip.Addr // where the sockets are
	quota int        // of one peer
	now   func() time.Time

	// Atomic.
	taken      portSet                 // those of allocations
	neighbours atomic.Pointer[[]Range] // the relays of other instances
	total      counters                // of all accounts ever

	// Guarded by mu.
	mu       sync.Mutex
	accounts map[ident.PeerID]*account
	ports    map[uint16]*relayConn
	revoked  map[ident.PeerID]time.Time // while credentials from before may be good
	made     uint64                     // allocations
	refused  uint64                     // allocations
	closed   bool
}

// relayConn is the socket of one allocation. The TURN server reads from it what
// peers send, and writes to it what the client sends.
type relayConn struct {
	*net.UDPConn
	table    *allocations
	account  *account
	username string
	port     uint16
	left     func(*relayConn) // called once when it is closed
	active   atomic.Int64     // unix milliseconds of the client's last packet
	once     sync.Once

	// Guarded by mu.
	mu        sync.Mutex
	permitted map[netip.Addr]permission
}

// permission lets packets through between a client and an address.
type permission struct {
	until     int64 // unix milliseconds
	relayOnly bool  // only the ports of relays
}

// open makes an allocation's socket. A peer at its quota loses the one that its
// client abandoned longest ago, if any: after a NAT has forgotten its mappings
// an agent must not wait for its old allocations to time out. A port other than
// 0 is the one wanted.
func (t *allocations) open(by login, port int, left func(*relayConn)) (*relayConn, error) {
	peer := by.peer
	if stale := t.makeRoom(peer); stale != nil {
		stale.Close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, net.ErrClosed
	}
	a := t.account(peer)
	if len(a.conns) >= t.quota {
		t.refused++
		return nil, errQuota
	}
	socket, err := t.socket(port)
	if err != nil {
		t.refused++
		return nil, err
	}
	c := &relayConn{
		UDPConn: socket, table: t, account: a, username: by.username, left: left,
		port:      socket.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		permitted: map[netip.Addr]permission{},
	}
	c.active.Store(t.now().UnixMilli())
	a.conns = append(a.conns, c)
	t.ports[c.port] = c
	t.taken.set(c.port)
	t.made++
	return c, nil
}

// makeRoom returns the allocation that must go before the peer gets another.
func (t *allocations) makeRoom(peer ident.PeerID) *relayConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[peer]
	if a == nil || len(a.conns) < t.quota {
		return nil
	}
	limit := t.now().Add(-abandoned).UnixMilli()
	var oldest *relayConn
	for _, c := range a.conns {
		if at := c.active.Load(); at < limit {
			oldest, limit = c, at
		}
	}
	return oldest
}

// socket binds the port wanted, or a random free one of the range.
func (t *allocations) socket(wanted int) (*net.UDPConn, error) {
	for range portDraws {
		port := t.at.First + uint16(rand.UintN(uint(t.at.Last-t.at.First)+1))
		if wanted >= int(t.at.First) && wanted <= int(t.at.Last) {
			port = uint16(wanted)
		}
		if t.ports[port] != nil {
			continue
		}
		socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.bind, port)))
		if err != nil {
			continue // somebody else's
		}
		socket.SetReadBuffer(relayBuffer)
		socket.SetWriteBuffer(relayBuffer)
		return socket, nil
	}
	return nil, fmt.Errorf("%w between %d and %d", errPorts, t.at.First, t.at.Last)
}

func (t *allocations) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ports)
}

// revoke ends a peer's allocations, and refuses credentials from before.
func (t *allocations) revoke(peer ident.PeerID, at time.Time) {
	t.mu.Lock()
	over := t.now().Add(-Validity)
	if at.After(over) {
		t.revoked[peer] = at
	}
	maps.DeleteFunc(t.revoked, func(_ ident.PeerID, at time.Time) bool { return !at.After(over) })
	var conns []*relayConn
	if a := t.accounts[peer]; a != nil {
		conns = slices.Clone(a.conns)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// refuses reports whether what was issued to a peer at a moment is no longer
// good.
func (t *allocations) refuses(peer ident.PeerID, issued time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.revoked[peer]
	return ok && !issued.After(at)
}

// close ends every allocation and lets no new one begin.
func (t *allocations) close() {
	t.mu.Lock()
	t.closed = true
	conns := make([]*relayConn, 0, len(t.ports))
	for _, c := range t.ports {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// forget takes a closed allocation off the lists.
func (t *allocations) forget(c *relayConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ports, c.port)
	t.taken.unset(c.port)
	c.account.conns = slices.DeleteFunc(c.account.conns, func(other *relayConn) bool { return other == c })
	c.account.ended = t.now().UnixMilli()
}

// permit lets the client exchange packets with an address for a while, up to a
// bound of addresses.
func (c *relayConn) permit(ip netip.Addr, relayOnly bool) bool {
	now := c.table.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.permitted[ip]; !ok && len(c.permitted) >= maxPermissions {
		maps.DeleteFunc(c.permitted, func(_ netip.Addr, p permission) bool { return p.until <= now.UnixMilli() })
		if len(c.permitted) >= maxPermissions {
			return false
		}
	}
	c.permitted[ip] = permission{until: now.Add(permissionKept).UnixMilli(), relayOnly: relayOnly}
	return true
}

// ReadFrom returns what a peer sends to the client: what comes from elsewhere is
// dropped. Errors are final.
func (c *relayConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.UDPConn.ReadFromUDPAddrPort(p)
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		case err != nil:
			continue // the network's word on what was sent before
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !c.permits(from) {
			c.drop(n)
			continue
		}
		c.account.used.toClients.add(n)
		c.table.total.toClients.add(n)
		return n, net.UDPAddrFromAddrPort(from), nil
	}
}

// permits reports whether the client may exchange packets with an address now.
func (c *relayConn) permits(other netip.AddrPort) bool {
	c.mu.Lock()
	p, ok := c.permitted[other.Addr()]
	c.mu.Unlock()
	return ok && c.table.now().UnixMilli() < p.until && (!p.relayOnly || c.table.relays(other))
}

func (c *relayConn) drop(n int) {
	c.account.used.dropped.add(n)
	c.table.total.dropped.add(n)
}

// WriteTo sends what the client relays. Whatever the TURN server thinks,
// nothing goes to an address that was not permitted, nor to a port of a relay's
// machine that is not the relay's: it is dropped.
func (c *relayConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	c.active.Store(c.table.now().UnixMilli())
	to, ok := addrPort(addr)
	if !ok || !c.permits(to) {
		c.drop(len(p))
		return len(p), nil
	}
	c.account.used.fromClients.add(len(p))
	c.table.total.fromClients.add(len(p))
	if _, err := c.WriteToUDPAddrPort(p, to); errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return len(p), nil // what the network refuses is lost, as datagrams are
}

// Close ends the allocation: the TURN server's read of it fails, and it deletes
// what it knows of it. Closing twice is fine.
func (c *relayConn) Close() error {
	c.once.Do(func() {
		c.UDPConn.Close()
		c.table.forget(c)
		c.left(c)
	})
	return nil
}
