package listener

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

// conn is an accepted connection. Its client may have another address than TCP says, and some of its first bytes may
// have been read already.
type conn struct {
	net.Conn
	listener *Listener

	// Static once a service has the connection.
	remote       net.Addr
	writeTimeout time.Duration // of one write; 0: unbounded

	// Owned by the goroutine that reads.
	early []byte // read already, and returned again by Read

	// Guarded by admission.mu.
	place    *list.Element // among the pending connections; nil if the connection is not pending
	admitted time.Time
	source   netip.Prefix
	counted  bool // among the connections of source
	greeting bool // among the pending connections of source

	closing sync.Once
}

// RemoteAddr returns the address of the client, as a load balancer has given it.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// Read first returns the bytes that were read before.
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

// Write fails if the client does not read within writeTimeout.
func (c *conn) Write(p []byte) (int, error) {
	if c.writeTimeout > 0 {
		c.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	}
	return c.Conn.Write(p)
}

// Close closes the connection and uncounts it. It may be called several times.
func (c *conn) Close() error {
	c.closing.Do(func() { c.listener.forget(c) })
	return c.Conn.Close()
}

// peekedTLS is a TLS connection some of whose first bytes have been read already.
type peekedTLS struct {
	*tls.Conn
	early []byte // owned by the goroutine that reads
}

// Read first returns the bytes that were read before.
func (c *peekedTLS) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// within reports whether one of the networks contains an address.
func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

var errAddress = errors.New("not an address of TCP over IP")

// addressOf returns the IP address of a TCP address, unmapped and without its zone.
func addressOf(a net.Addr) (netip.Addr, error) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil || !tcp.AddrPort().IsValid() {
		return netip.Addr{}, fmt.Errorf("%w: %v", errAddress, a)
	}
	return tcp.AddrPort().Addr().Unmap().WithZone(""), nil
}
