package rvclient_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// censor forwards TCP connections to a rendezvous. It resets those whose first
// bytes contain the name of the signalling protocol.
type censor struct {
	link string // the join link with the censor's address

	mu     sync.Mutex
	resets int // number of connections reset
	conns  []net.Conn
}

func newCensor(t *testing.T, link string) *censor {
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
	c := &censor{link: u.String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			c.keep(client)
			running.Go(func() { c.serve(client, to) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.end()
		running.Wait()
	})
	return c
}

func (c *censor) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
}

// end closes all connections.
func (c *censor) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

func (c *censor) resetCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resets
}

func (c *censor) serve(client net.Conn, to string) {
	defer client.Close()
	first := make([]byte, 4096)
	n, err := client.Read(first)
	if err != nil {
		return
	}
	if bytes.Contains(first[:n], []byte(signal.ALPN)) {
		c.mu.Lock()
		c.resets++
		c.mu.Unlock()
		client.(*net.TCPConn).SetLinger(0) // makes Close send a reset
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	c.keep(server)
	server.Write(first[:n])
	done := make(chan struct{})
	go func() {
		defer close(done)
		forward(server, client, nil)
	}()
	forward(client, server, nil)
	server.Close()
	<-done
}

// TestWebSocketReplacesCensoredProtocol also checks that the client remembers at
// the next connection that only the WebSocket works.
func TestWebSocketReplacesCensoredProtocol(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	c := newCensor(t, s.link)
	a := join(t, c.link, 1)
	connected := func(s rvclient.State) bool { return s.Connected }
	if got := a.await(t, "connected", connected); got.Via != rvclient.ViaWebSocket {
		t.Errorf("connected via %q", got.Via)
	}
	resets := c.resetCount()
	if resets == 0 {
		t.Error("the client did not try the signalling protocol")
	}
	b := join(t, s.link, 2).connected(t)
	allow(t, a, b)
	if err := b.Send(t.Context(), a.id, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	a.expect(t, b.id.Short()+" hello")

	c.end()
	a.await(t, "disconnected", func(s rvclient.State) bool { return !s.Connected })
	if got := a.await(t, "connected again", connected); got.Via != rvclient.ViaWebSocket {
		t.Errorf("connected again via %q", got.Via)
	}
	if c.resetCount() != resets {
		t.Error("the client tried the signalling protocol again")
	}
}
