package path

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pion/ice/v2"
	"github.com/pion/transport/v2/deadline"
)

// Bounds of the queue of a relayedConn: about 1 MB.
const (
	relayedQueue  = 512
	relayedPacket = 2048 // bytes; QUIC packets have at most 1452
)

// relayedConn is a packet connection to one remote address over a local TURN
// allocation. The connection of the ICE library has no deadlines, and only the
// end of the ICE agent ends its Read.
type relayedConn struct {
	conn          *ice.Conn
	local, remote *net.UDPAddr

	queue  chan []byte
	free   sync.Pool
	read   *deadline.Deadline
	done   chan struct{}
	once   sync.Once
	pumped sync.WaitGroup
}

func newRelayedConn(conn *ice.Conn, local, remote *net.UDPAddr) *relayedConn {
	c := &relayedConn{
		conn: conn, local: local, remote: remote,
		queue: make(chan []byte, relayedQueue),
		free:  sync.Pool{New: func() any { return new([relayedPacket]byte) }},
		read:  deadline.New(),
		done:  make(chan struct{}),
	}
	c.pumped.Go(c.pump)
	return c
}

// pump moves packets to the queue until the ICE agent ends. If the queue is full it
// drops packets.
func (c *relayedConn) pump() {
	defer c.end()
	for {
		buf := c.free.Get().(*[relayedPacket]byte)
		n, err := c.conn.Read(buf[:])
		if err != nil {
			if errors.Is(err, io.ErrShortBuffer) { // larger than any QUIC packet
				continue
			}
			return
		}
		select {
		case c.queue <- buf[:n]:
		default:
			c.free.Put(buf)
		}
	}
}

// ReadFrom waits for a packet, at most until the read deadline.
func (c *relayedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.done:
		return 0, nil, c.closedError("read")
	case <-c.read.Done():
		return 0, nil, c.operation("read", os.ErrDeadlineExceeded)
	default:
	}
	select {
	case p := <-c.queue:
		n := copy(b, p)
		c.free.Put((*[relayedPacket]byte)(p[:relayedPacket]))
		return n, c.remote, nil
	case <-c.read.Done():
		return 0, nil, c.operation("read", os.ErrDeadlineExceeded)
	case <-c.done:
		return 0, nil, c.closedError("read")
	}
}

// WriteTo sends a packet to the one remote address and ignores its second argument.
// A packet that cannot be sent counts as lost. The only error is that of a closed
// connection.
func (c *relayedConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, c.closedError("write")
	default:
	}
	if _, err := c.conn.Write(b); errors.Is(err, ice.ErrClosed) {
		return 0, c.closedError("write")
	}
	return len(b), nil
}

func (c *relayedConn) closedError(op string) error { return c.operation(op, net.ErrClosed) }

func (c *relayedConn) operation(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends ReadFrom. The allocation stays until the end of the attempt.
func (c *relayedConn) Close() error {
	c.end()
	return nil
}

func (c *relayedConn) end() { c.once.Do(func() { close(c.done) }) }

// wait waits until pump has returned, which it does when the ICE agent ends.
func (c *relayedConn) wait() { c.pumped.Wait() }

// LocalAddr returns the address of the allocation.
func (c *relayedConn) LocalAddr() net.Addr { return c.local }

// SetDeadline sets the read deadline. Writes do not block for long.
func (c *relayedConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes ReadFrom return [os.ErrDeadlineExceeded] after t. The zero
// time removes the deadline.
func (c *relayedConn) SetReadDeadline(t time.Time) error {
	c.read.Set(t)
	return nil
}

// SetWriteDeadline does nothing.
func (c *relayedConn) SetWriteDeadline(time.Time) error { return nil }
