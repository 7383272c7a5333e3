package quiclink

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// nonQUIC is the endpoint's socket without its QUIC packets.
type nonQUIC struct {
	endpoint *Endpoint

	mu     sync.Mutex
	read   context.Context         // guarded by mu; ends at the read deadline
	cancel context.CancelCauseFunc // guarded by mu; ends read early
	timer  context.CancelFunc      // guarded by mu; lets go of the deadline's timer
	closed bool                    // guarded by mu
}

// errMoved is the cause for which a read is begun again: its deadline moved.
var errMoved = errors.New("the deadline was moved")

// NonQUIC returns the socket as a packet connection that carries what is not
// QUIC, as for ICE. One at a time may be read. Packets that nobody reads are
// dropped. Closing it leaves the endpoint as it is; writes never block, and
// ignore their deadline.
func (e *Endpoint) NonQUIC() net.PacketConn {
	c := &nonQUIC{endpoint: e}
	c.arm(time.Time{})
	return c
}

// arm begins the time until a deadline. mu is held, or nobody has c yet.
func (c *nonQUIC) arm(t time.Time) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.read, c.cancel, c.timer = ctx, cancel, func() {}
	if !t.IsZero() {
		c.read, c.timer = context.WithDeadline(ctx, t)
	}
}

// ReadFrom reads a packet, cut to len(b).
func (c *nonQUIC) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		ctx, closed := c.read, c.closed
		c.mu.Unlock()
		if closed {
			return 0, nil, c.failed("read", net.ErrClosed)
		}
		n, from, err := c.endpoint.readNonQUIC(ctx, b)
		if err == nil {
			return n, from, nil
		}
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errMoved):
		case errors.Is(cause, context.DeadlineExceeded):
			return 0, nil, c.failed("read", os.ErrDeadlineExceeded)
		default: // closed, or the endpoint's transport is
			return 0, nil, c.failed("read", net.ErrClosed)
		}
	}
}

func (c *nonQUIC) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}

// WriteTo sends a packet.
func (c *nonQUIC) WriteTo(b []byte, to net.Addr) (int, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, c.failed("write", net.ErrClosed)
	}
	return c.endpoint.writeNonQUIC(b, to)
}

// Close ends reads and writes on this view of the socket.
func (c *nonQUIC) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cancel(net.ErrClosed)
	c.timer()
	return nil
}

// LocalAddr is the socket's, a *net.UDPAddr.
func (c *nonQUIC) LocalAddr() net.Addr { return c.endpoint.LocalAddr() }

// SetReadDeadline also applies to a read that waits already.
func (c *nonQUIC) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	cancel, timer := c.cancel, c.timer
	c.arm(t)
	cancel(errMoved)
	timer()
	return nil
}

// SetDeadline is SetReadDeadline.
func (c *nonQUIC) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (c *nonQUIC) SetWriteDeadline(time.Time) error { return nil }
