package quiclink

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// nonQUIC reads the packets of the endpoint's socket that are not QUIC, and
// writes to the socket.
type nonQUIC struct {
	endpoint *Endpoint

	mu      sync.Mutex
	readCtx context.Context         // guarded by mu; ends at the read deadline
	cancel  context.CancelCauseFunc // guarded by mu; ends readCtx early
	timer   context.CancelFunc      // guarded by mu; stops the timer of the deadline
	closed  bool                    // guarded by mu
}

// errDeadlineMoved is the cause with which a read is interrupted and begins again.
var errDeadlineMoved = errors.New("the read deadline has changed")

// NonQUIC returns a packet connection for the packets of the socket that are not
// QUIC, such as those of ICE. Only one such connection at a time may be read.
// Packets that nobody reads are dropped. Close does not affect the endpoint.
// Writes do not block and ignore their deadline.
func (e *Endpoint) NonQUIC() net.PacketConn {
	c := &nonQUIC{endpoint: e}
	c.arm(time.Time{})
	return c
}

// arm sets the read deadline. mu must be held, except during construction.
func (c *nonQUIC) arm(t time.Time) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.readCtx, c.cancel, c.timer = ctx, cancel, func() {}
	if !t.IsZero() {
		c.readCtx, c.timer = context.WithDeadline(ctx, t)
	}
}

// ReadFrom reads a packet, cut to len(b).
func (c *nonQUIC) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		ctx, closed := c.readCtx, c.closed
		c.mu.Unlock()
		if closed {
			return 0, nil, c.failed("read", net.ErrClosed)
		}
		n, from, err := c.endpoint.readNonQUIC(ctx, b)
		if err == nil {
			return n, from, nil
		}
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errDeadlineMoved):
		case errors.Is(cause, context.DeadlineExceeded):
			return 0, nil, c.failed("read", os.ErrDeadlineExceeded)
		default: // this connection or the endpoint's transport is closed
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

// Close ends reads and writes of this connection. The socket stays open.
func (c *nonQUIC) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cancel(net.ErrClosed)
	c.timer()
	return nil
}

// LocalAddr returns the socket's address, a *net.UDPAddr.
func (c *nonQUIC) LocalAddr() net.Addr { return c.endpoint.LocalAddr() }

// SetReadDeadline also applies to a read that is already waiting.
func (c *nonQUIC) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	cancel, timer := c.cancel, c.timer
	c.arm(t)
	cancel(errDeadlineMoved)
	timer()
	return nil
}

// SetDeadline calls SetReadDeadline.
func (c *nonQUIC) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (c *nonQUIC) SetWriteDeadline(time.Time) error { return nil }
