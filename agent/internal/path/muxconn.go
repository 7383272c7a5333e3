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

// Bounds of what a muxConn keeps.
const (
	muxQueue = 128  // packets not yet read; more are dropped
	muxSent  = 2048 // questions that an answer may still come to
	muxSeen  = 2 * call.MaxRemote
)

// muxConn is one ICE agent's share of the mux, for one address family. It
// carries checks and nothing else.
type muxConn struct {
	mux   *mux
	key   muxKey
	queue chan packet
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex // guards the rest
	sent []transaction
	next int                               // oldest of sent, once it is full
	seen map[netip.AddrPort]netip.AddrPort // by remote: our address as it sees it
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

// push queues a packet, or drops it: checks are repeated. A nil conn drops.
func (c *muxConn) push(b []byte, from netip.AddrPort) {
	if c == nil {
		return
	}
	select {
	case c.queue <- packet{b, from}:
	default:
	}
}

// note remembers our address as a remote end says it sees it.
func (c *muxConn) note(remote, seen netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.seen[remote]; ok || len(c.seen) < muxSeen {
		c.seen[remote] = seen
	}
}

// seenBy returns our address as the remote end sees it, if it ever answered.
func (c *muxConn) seenBy(remote netip.AddrPort) netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[remote]
}

// ReadFrom waits for a packet; it returns io.EOF after Close.
func (c *muxConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.done:
		return 0, nil, io.EOF
	case p := <-c.queue:
		return copy(b, p.b), net.UDPAddrFromAddrPort(p.from), nil
	}
}

// WriteTo sends a check or an answer to one.
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
	return n, ended(err)
}

// expect registers a question, in place of the oldest one if there are many.
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
		delete(c.mux.pending, c.sent[c.next])
		c.sent[c.next] = t
		c.next = (c.next + 1) % muxSent
	}
	c.mux.pending[t] = c
}

// Close takes the conn out of the mux and wakes its reader.
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
			delete(c.mux.pending, t)
		}
	})
	return nil
}

// SetDeadline does nothing: an ICE agent uses it just before Close.
func (c *muxConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *muxConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *muxConn) SetWriteDeadline(time.Time) error { return nil }
