package front

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// conn is a connection whose other end may be another than the one that TCP
// says, and of which some bytes may have been read already.
type conn struct {
	net.Conn
	front *Front

	// Static once it is handed on.
	remote net.Addr
	stall  time.Duration // how long one write may take; 0: as long as it likes

	// Owned by who reads.
	early []byte // what was read and is to be read again

	// Guarded by Front.limits.mu.
	source  *tally        // nil: not counted
	waiting *list.Element // nil: it has said what it wants
	began   time.Time

	closing sync.Once
}

// RemoteAddr is who connected, as a load balancer tells it.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// Read returns first what was looked at before.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil // an idle connection keeps no buffer
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// Write gives up on who does not read, where that is bounded.
func (c *conn) Write(p []byte) (int, error) {
	if c.stall > 0 {
		c.SetWriteDeadline(time.Now().Add(c.stall))
	}
	return c.Conn.Write(p)
}

// Close closes the connection and frees its place. It may be called often.
func (c *conn) Close() error {
	c.closing.Do(func() { c.front.forget(c) })
	return c.Conn.Close()
}

// unread is a TLS connection of which the first bytes have been read already.
type unread struct {
	*tls.Conn
	early []byte // owned by who reads
}

// Read returns first what was looked at before.
func (u *unread) Read(p []byte) (int, error) {
	if len(u.early) > 0 {
		n := copy(p, u.early)
		u.early = u.early[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// within reports whether one of the networks holds an address.
func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

var errAddress = errors.New("not an address of TCP over IP")

// addressOf is the address of a TCP address, unmapped and without its zone.
func addressOf(a net.Addr) (netip.Addr, error) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil || !tcp.AddrPort().IsValid() {
		return netip.Addr{}, fmt.Errorf("%w: %v", errAddress, a)
	}
	return tcp.AddrPort().Addr().Unmap().WithZone(""), nil
}
