package relay

import (
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// Bounds of permissions and channels.
const (
	maxPermissions = 64               // addresses one allocation may exchange packets with
	maxChannels    = 256              // of one allocation
	permissionKept = 10 * time.Minute // as long as a channel; RFC 5766 section 8 has half of it
	channelKept    = 10 * time.Minute // RFC 5766 section 11.2
	maxData        = 1500             // bytes of one packet to a client
)

// relayConn is the socket of one allocation. What comes from peers it takes to the
// client itself; the TURN server, which would, waits in ReadFrom for the end of
// the socket. What the client relays, by channels and by the TURN server, is
// sent when the door has handled all that has arrived.
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
	in   *datagrams.Reader
	back outbox

	// Guarded by mu.
	mu        sync.Mutex
	permitted map[netip.Addr]permission
	channels  map[uint16]channel
	numbers   map[netip.AddrPort]channel // by peer
	end       *time.Timer                // closes it
}

// channel is a client's short name for a peer (RFC 5766 section 11).
type channel struct {
	number uint16
	peer   netip.AddrPort
	until  int64 // unix nanoseconds
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
		permitted: map[netip.Addr]permission{}, channels: map[uint16]channel{}, numbers: map[netip.AddrPort]channel{},
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

// bind makes or renews a channel, which the TURN server has found to be in order.
func (c *relayConn) bind(ch channel) {
	now := c.table.now()
	ch.until = now.Add(channelKept).UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.channels) >= maxChannels {
		over := func(ch channel) bool { return ch.until <= now.UnixNano() }
		maps.DeleteFunc(c.channels, func(_ uint16, ch channel) bool { return over(ch) })
		maps.DeleteFunc(c.numbers, func(_ netip.AddrPort, ch channel) bool { return over(ch) })
	}
	if _, known := c.channels[ch.number]; !known && len(c.channels) >= maxChannels {
		return
	}
	c.channels[ch.number], c.numbers[ch.peer] = ch, ch
}

// permits reports whether the client may exchange packets with an address at a
// moment, and by which channel it does; 0 is none.
func (c *relayConn) permits(other netip.AddrPort, now int64) (number uint16, ok bool) {
	c.mu.Lock()
	p, ok := c.permitted[other.Addr()]
	ch := c.numbers[other]
	c.mu.Unlock()
	if ch.until > now {
		number = ch.number
	}
	return number, ok && now < p.until && (!p.relayOnly || c.table.relays(other))
}

// peerOf is the peer of a channel at a moment.
func (c *relayConn) peerOf(number uint16, now int64) (netip.AddrPort, bool) {
	c.mu.Lock()
	ch := c.channels[number]
	c.mu.Unlock()
	return ch.peer, ch.until > now
}

// passes counts a packet of n bytes that is permitted or not, and reports whether
// it may pass in a direction at a moment.
func (c *relayConn) passes(n int, permitted bool, now int64, direction func(*counters) *flow) bool {
	pass := false
	switch {
	case !permitted:
		direction = dropped
	case !c.account.budget.take(now, n) || !c.table.budget.take(now, n):
		direction = limited
	default:
		pass = true
	}
	direction(&c.account.used).add(n)
	direction(&c.table.total).add(n)
	return pass
}

// ReadFrom takes what peers send to the client, until the socket ends: what comes
// from elsewhere is dropped. Before it waits, what it has taken is sent. It
// returns nothing but that end.
func (c *relayConn) ReadFrom([]byte) (int, net.Addr, error) {
	now := int64(0)
	for {
		waits := c.in.Buffered() == 0
		if waits {
			c.back.flush()
		}
		data, from, err := c.in.Next()
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		case err != nil:
			continue // the network's word on what was sent before
		}
		if waits {
			now = c.table.now().UnixNano()
		}
		c.toClient(data, from, now)
	}
}

// toClient takes a peer's packet to the client: by the peer's channel, or in a
// Data indication.
func (c *relayConn) toClient(data []byte, from netip.AddrPort, now int64) {
	number, ok := c.permits(from, now)
	if !c.passes(len(data), ok && len(data) <= maxData, now, toClients) {
		return
	}
	if number == 0 {
		c.back.add(nil, indication(from, data))
		return
	}
	var header [channelHeader]byte
	binary.BigEndian.PutUint16(header[:], number)
	binary.BigEndian.PutUint16(header[2:], uint16(len(data)))
	c.back.add(header[:], data)
}

// indication is a Data indication (RFC 5766 section 10.3).
func indication(from netip.AddrPort, data []byte) message {
	var of [stunHeader]byte
	binary.BigEndian.PutUint32(of[4:], magicCookie)
	binary.BigEndian.PutUint64(of[8:], rand.Uint64())
	binary.BigEndian.PutUint32(of[16:], rand.Uint32())
	return newMessage(dataIndication, of[:]).addXORAddress(attrXORPeerAddress, from).add(attrData, data)
}

// fromChannel takes what the client relays by a channel.
func (c *relayConn) fromChannel(number uint16, data []byte) {
	to, ok := c.peerOf(number, c.door.now)
	if !ok {
		c.passes(len(data), false, c.door.now, dropped)
		return
	}
	c.fromClient(data, to)
}

// WriteTo takes what the client relays by a Send indication.
func (c *relayConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	if to, ok := addrPort(addr); ok {
		c.fromClient(p, to)
	} else {
		c.passes(len(p), false, c.door.now, dropped)
	}
	return len(p), nil // what is not sent is lost, as datagrams are
}

// fromClient takes what the client relays. Whatever it has asked for before,
// nothing goes to an address that is not permitted, nor to a port of a relay's
// machine that is not the relay's: it is dropped.
func (c *relayConn) fromClient(p []byte, to netip.AddrPort) {
	now := c.door.now
	c.active.Store(now / int64(time.Millisecond))
	if _, ok := c.permits(to, now); !c.passes(len(p), ok, now, fromClients) {
		return
	}
	before := c.out.Pending()
	c.out.Add(nil, p, to) // the end of the socket is told by its reads
	if before == 0 && c.out.Pending() > 0 {
		c.door.unsent = append(c.door.unsent, c)
	}
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
