package relay

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// Bounds of permissions.
const (
	maxPermissions = 64               // addresses one allocation may exchange packets with
	permissionKept = 10 * time.Minute // a channel's life, RFC 5766 section 11.2; a permission's is half of it
)

// relayConn is the socket of one allocation. The TURN server reads from it what
// peers send, and writes to it what the client sends. What is written is sent
// when the door has handled all that has arrived, and what is read goes to the
// client when all that has arrived here was handled.
type relayConn struct {
	*net.UDPConn // for its local address and its closing
	table        *allocations
	account      *account
	door         *door
	login        login // that made it
	port         uint16
	active       atomic.Int64 // unix milliseconds of the client's last packet
	once         sync.Once

	// Owned by the goroutine of the door's TURN server.
	out *datagrams.Writer

	// Owned by the goroutine of the allocation.
	in *datagrams.Reader

	// Guarded by mu.
	mu        sync.Mutex
	permitted map[netip.Addr]permission
	end       *time.Timer // closes it

	// Guarded by backMu: the goroutine of the client's allocation before this
	// one may have a packet left.
	backMu sync.Mutex
	back   outbox
}

// permission lets packets through between a client and an address.
type permission struct {
	until     int64 // unix nanoseconds
	relayOnly bool  // only the ports of relays
}

func newRelayConn(d *door, a *account, socket *net.UDPConn) (*relayConn, error) {
	in, err := datagrams.NewReader(socket)
	if err != nil {
		return nil, err
	}
	to, err := datagrams.NewSocket(socket)
	if err != nil {
		return nil, err
	}
	c := &relayConn{
		UDPConn: socket, table: d.relay.table, account: a, door: d, login: d.login,
		port: socket.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		in:   in, out: to.NewWriter(), back: d.clients.outbox(d.login.from),
		permitted: map[netip.Addr]permission{},
	}
	c.active.Store(d.now / int64(time.Millisecond))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = time.AfterFunc(c.table.life, func() { c.Close() })
	return c, nil
}

// expire closes the allocation after a while, unless it is called again.
func (c *relayConn) expire(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end.Stop() {
		c.end.Reset(after)
	}
}

// permit lets the client exchange packets with an address for a while, up to a
// bound of addresses.
func (c *relayConn) permit(ip netip.Addr, relayOnly bool) bool {
	now := c.table.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.permitted[ip]; !ok && len(c.permitted) >= maxPermissions {
		maps.DeleteFunc(c.permitted, func(_ netip.Addr, p permission) bool { return p.until <= now.UnixNano() })
		if len(c.permitted) >= maxPermissions {
			return false
		}
	}
	c.permitted[ip] = permission{until: now.Add(permissionKept).UnixNano(), relayOnly: relayOnly}
	return true
}

// permits reports whether the client may exchange packets with an address at a
// moment.
func (c *relayConn) permits(other netip.AddrPort, now int64) bool {
	c.mu.Lock()
	p, ok := c.permitted[other.Addr()]
	c.mu.Unlock()
	return ok && now < p.until && (!p.relayOnly || c.table.relays(other))
}

// passes counts a packet of n bytes, and reports whether it may pass: in the
// direction that counts, between the client and other, at a moment.
func (c *relayConn) passes(n int, other netip.AddrPort, now int64, direction func(*counters) *flow) bool {
	switch {
	case !c.permits(other, now):
		direction = dropped
	case !c.account.budget.take(now, n) || !c.table.budget.take(now, n):
		direction = limited
	default:
		direction(&c.account.used).add(n)
		direction(&c.table.total).add(n)
		return true
	}
	direction(&c.account.used).add(n)
	direction(&c.table.total).add(n)
	return false
}

// ReadFrom returns what a peer sends to the client: what comes from elsewhere is
// dropped. Before it waits, what it has returned is sent. Errors are final.
func (c *relayConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if c.in.Buffered() == 0 {
			c.backMu.Lock()
			c.back.flush()
			c.backMu.Unlock()
		}
		data, from, err := c.in.Next()
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		case err != nil:
			continue // the network's word on what was sent before
		}
		if len(data) > len(p) || !c.passes(len(data), from, c.table.now().UnixNano(), toClients) {
			continue
		}
		return copy(p, data), net.UDPAddrFromAddrPort(from), nil
	}
}

// collect takes a message for the client.
func (c *relayConn) collect(p []byte) {
	c.backMu.Lock()
	defer c.backMu.Unlock()
	c.back.add(p)
}

// WriteTo takes what the client relays. Whatever the TURN server thinks,
// nothing goes to an address that was not permitted, nor to a port of a relay's
// machine that is not the relay's: it is dropped.
func (c *relayConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	now := c.door.now
	c.active.Store(now / int64(time.Millisecond))
	to, ok := addrPort(addr)
	if !ok || !c.passes(len(p), to, now, fromClients) {
		return len(p), nil
	}
	before := c.out.Pending()
	if err := c.out.Add(p, to); err != nil {
		return 0, err
	}
	if before == 0 && c.out.Pending() > 0 {
		c.door.unsent = append(c.door.unsent, c)
	}
	return len(p), nil // what the network refuses is lost, as datagrams are
}

// Close ends the allocation: the TURN server's read of it fails, and it deletes
// what it knows of it. Closing twice is fine.
func (c *relayConn) Close() error {
	c.once.Do(func() {
		c.UDPConn.Close()
		c.mu.Lock()
		c.end.Stop()
		c.mu.Unlock()
		c.table.forget(c)
		c.door.forget(c)
	})
	return nil
}
