package front

import (
	"net"
	"sync"
)

// queue is a listener of connections that somebody else has accepted.
type queue struct {
	address net.Addr
	below   net.Listener // closed with it; nil: none
	conns   chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

func newQueue(address net.Addr, below net.Listener) *queue {
	return &queue{address: address, below: below, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// put waits until the connection is accepted, and closes it once nobody will.
func (q *queue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.closed:
		c.Close()
	}
}

// Accept returns the next connection.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close lets nothing more in.
func (q *queue) Close() error {
	q.closing.Do(func() { close(q.closed) })
	if q.below != nil {
		return q.below.Close()
	}
	return nil
}

// Addr is where the connections were accepted.
func (q *queue) Addr() net.Addr { return q.address }
