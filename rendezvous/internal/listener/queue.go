package listener

import (
	"net"
	"sync"
)

// queue is a net.Listener whose connections are accepted elsewhere and handed to it by put.
type queue struct {
	address net.Addr
	below   net.Listener // closed together with the queue; may be nil
	conns   chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

func newQueue(address net.Addr, below net.Listener) *queue {
	return &queue{address: address, below: below, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// put waits until a call of Accept takes the connection. If the queue is closed, put closes the connection.
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

// Close makes Accept fail, and closes the listener below.
func (q *queue) Close() error {
	q.closing.Do(func() { close(q.closed) })
	if q.below != nil {
		return q.below.Close()
	}
	return nil
}

// Addr returns the address at which the connections are accepted.
func (q *queue) Addr() net.Addr { return q.address }
