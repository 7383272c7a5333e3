package path

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/proto/call"
)

// Bounds of the memory of a muxConn.
const (
	muxQueue = 128  // packets that were not read yet; more are dropped
	muxSent  = 2048 // requests without a response
	muxSeen  = 2 * call.MaxRemote
)

// muxConn is the connection of one ICE agent to the mux, for one address family. It
// carries only checks.
type muxConn struct {
	mux   *mux
	key   muxKey
	queue chan packet
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex // guards the fields below
	sent []transaction
	next int                               // index of the oldest element of sent, when it is full
	seen map[netip.AddrPort]netip.AddrPort // by remote address: the address of this socket as the remote side sees it
}

type packet struct {
	b    []byte
	from netip.AddrPort
}

func newMuxConn(m *mux, key muxKey) *muxConn {
	return &muxConn{
		mux: m, key: key,
		queue: make(chan packet, muxQueue),
		done:  make(chan struct{}),
		seen:  make(map[netip.AddrPort]netip.AddrPort),
	}
}

// push queues a packet. It drops the packet if the queue is full, because checks
// are repeated, or if c is nil.
func (c *muxConn) push(b []byte, from netip.AddrPort) {
	if c == nil {
		return
	}
	select {
	case c.queue <- packet{b, from}:
	default:
	}
}

// noteSeen remembers the address of this socket as a remote side sees it.
func (c *muxConn) noteSeen(remote, seen netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.seen[remote]; ok || len(c.seen) < muxSeen {
		c.seen[remote] = seen
	}
}

// seenBy returns the address of this socket as the remote side sees it. It is
// invalid if the remote side never responded.
func (c *muxConn) seenBy(remote netip.AddrPort) netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[remote]
}

// ReadFrom waits for a packet. It returns io.EOF after Close.
func (c *muxConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.done:
		return 0, nil, io.EOF
	case p := <-c.queue:
		return copy(b, p.b), net.UDPAddrFromAddrPort(p.from), nil
	}
}

// WriteTo sends a check or a response to a check.
func (c *muxConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, io.ErrClosedPipe
	default:
	}
	if isRequest(b) {
		c.expect(transaction(b[8 : 8+stun.TransactionIDSize]))
	}
	n, err := c.mux.conn.WriteTo(b, to)
	return n, closedToEOF(err)
}

// expect registers a request. At the bound it replaces the oldest one.
func (c *muxConn) expect(t transaction) {
	c.mux.mu.Lock()
	defer c.mux.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mux.conns[c.key] != c {
		return
	}
	if len(c.sent) < muxSent {
		c.sent = append(c.sent, t)
	} else {
		delete(c.mux.checks, c.sent[c.next])
		c.sent[c.next] = t
		c.next = (c.next + 1) % muxSent
	}
	c.mux.checks[t] = c
}

// Close removes the connection from the mux and ends ReadFrom.
func (c *muxConn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.mux.mu.Lock()
		defer c.mux.mu.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.mux.conns[c.key] == c {
			delete(c.mux.conns, c.key)
		}
		for _, t := range c.sent {
			delete(c.mux.checks, t)
		}
	})
	return nil
}

// SetDeadline does nothing: the ICE agent calls it only before Close.
func (c *muxConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *muxConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *muxConn) SetWriteDeadline(time.Time) error { return nil }
