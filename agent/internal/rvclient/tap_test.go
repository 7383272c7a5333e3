package rvclient_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// tap passes TCP connections on to a rendezvous, and can stop passing what the
// present ones carry without closing them.
type tap struct {
	link string

	mu    sync.Mutex
	conns []net.Conn
	stuck chan struct{} // closed to stall those that have it
}

// newTap listens in front of the rendezvous of a join link.
func newTap(t *testing.T, link string) *tap {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := u.Host
	u.Host = listener.Addr().String()
	p := &tap{link: u.String(), stuck: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			stuck := p.stuck
			p.mu.Unlock()
			running.Go(func() { pass(near, far, stuck) })
			running.Go(func() { pass(far, near, stuck) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		running.Wait()
	})
	return p
}

// stall makes the present connections carry nothing any more.
func (p *tap) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.stuck)
	p.stuck = make(chan struct{})
}

// pass copies until the connection ends; once stuck it drops what it reads.
func pass(from, to net.Conn, stuck <-chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-stuck:
			io.Copy(io.Discard, from)
			return
		default:
		}
		if err != nil {
			to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			from.Close()
			return
		}
	}
}
