package rvclient_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// tap forwards TCP connections to a rendezvous. It can stop to forward data
// without closing the connections.
type tap struct {
	link string // the join link with the tap's address

	mu      sync.Mutex
	conns   []net.Conn
	stalled chan struct{} // closed to stall the connections opened before
}

// newTap returns a tap in front of the rendezvous of a join link.
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
	p := &tap{link: u.String(), stalled: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			stalled := p.stalled
			p.mu.Unlock()
			running.Go(func() { forward(client, server, stalled) })
			running.Go(func() { forward(server, client, stalled) })
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

// stall stops forwarding on the current connections. New connections work.
func (p *tap) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.stalled)
	p.stalled = make(chan struct{})
}

// forward copies data until a connection ends. After stalled is closed, it drops
// all data.
func forward(from, to net.Conn, stalled <-chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-stalled:
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
