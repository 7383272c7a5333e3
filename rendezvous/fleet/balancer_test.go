//go:build linux

package fleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/processtest"
)

// balancerAddress is the source address of the balancer's connections. The instances
// require a PROXY header on connections from there.
const balancerAddress = "127.0.0.99"

const (
	healthInterval = 250 * time.Millisecond
	healthTimeout  = time.Second
	dialTimeout    = time.Second
)

// balancer is a TCP load balancer. It chooses in turn among the instances whose
// /readyz answers 200, does not pin clients to an instance, and sends a PROXY header
// with the client's address.
type balancer struct {
	listener net.Listener
	backends []*backend
	next     atomic.Uint64
	running  sync.WaitGroup
	ctx      context.Context // of all connections
}

type backend struct {
	host string // an instance has the same address after a restart
	up   atomic.Bool
}

func newBalancer(t *testing.T, all []*processtest.Instance) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &balancer{listener: listener, ctx: ctx}
	for _, i := range all {
		one := &backend{host: i.Host}
		one.up.Store(true)
		b.backends = append(b.backends, one)
		b.running.Go(func() { b.watch(one) })
	}
	b.running.Go(b.accept)
	t.Cleanup(func() {
		cancel()
		listener.Close()
		b.running.Wait()
	})
	return b
}

func (b *balancer) address() string { return b.listener.Addr().String() }

// watch checks the health of a backend.
func (b *balancer) watch(one *backend) {
	client := &http.Client{Timeout: healthTimeout, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}},
		DisableKeepAlives: true,
	}}
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		res, err := client.Get("https://" + one.host + api.PathReady)
		if err == nil {
			res.Body.Close()
		}
		one.up.Store(err == nil && res.StatusCode == http.StatusOK)
	}
}

func (b *balancer) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.running.Go(func() { b.pass(conn) })
	}
}

// pass connects a client to the next healthy backend that can be reached. If no
// backend is healthy, it takes any.
func (b *balancer) pass(client net.Conn) {
	defer client.Close()
	dialer := net.Dialer{Timeout: dialTimeout, LocalAddr: &net.TCPAddr{IP: net.ParseIP(balancerAddress)}}
	first := b.next.Add(1)
	for _, wantUp := range []bool{true, false} {
		for i := range uint64(len(b.backends)) {
			one := b.backends[(first+i)%uint64(len(b.backends))]
			if one.up.Load() != wantUp {
				continue
			}
			server, err := dialer.DialContext(b.ctx, "tcp", one.host)
			if err != nil {
				continue
			}
			b.splice(client, server)
			return
		}
	}
}

func (b *balancer) splice(client, server net.Conn) {
	defer server.Close()
	from, to := client.RemoteAddr().(*net.TCPAddr), client.LocalAddr().(*net.TCPAddr)
	if _, err := fmt.Fprintf(server, "PROXY TCP4 %s %s %d %d\r\n", from.IP, to.IP, from.Port, to.Port); err != nil {
		return
	}
	stop := context.AfterFunc(b.ctx, func() { client.Close(); server.Close() })
	defer stop()
	var other sync.WaitGroup
	other.Go(func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	})
	io.Copy(client, server)
	client.(*net.TCPConn).CloseWrite()
	client.SetReadDeadline(time.Now().Add(healthTimeout)) // a leaving client closes the connection
	other.Wait()
}

// gate forwards the links of other instances to one instance. While it is closed, no
// byte passes, and neither side gets an error.
type gate struct {
	listener net.Listener
	running  sync.WaitGroup
	ctx      context.Context

	mu     sync.Mutex
	target string        // address of the instance; set before opened is closed the first time
	opened chan struct{} // closed by open, replaced by close
}

// newGate returns a closed gate.
func newGate(t *testing.T) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &gate{listener: listener, ctx: ctx, opened: make(chan struct{})}
	g.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			g.running.Go(func() { g.pass(conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		listener.Close()
		g.running.Wait()
	})
	return g
}

// address returns the address that other instances dial.
func (g *gate) address() string { return g.listener.Addr().String() }

// lead sets the address of the instance and opens the gate.
func (g *gate) lead(target string) {
	g.mu.Lock()
	g.target = target
	g.mu.Unlock()
	g.open()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
}

// wait waits until the gate is open. It returns false if the test ends before.
func (g *gate) wait() bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-g.ctx.Done():
		return false
	}
}

func (g *gate) pass(conn net.Conn) {
	defer conn.Close()
	if !g.wait() {
		return
	}
	g.mu.Lock()
	target := g.target
	g.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	stop := context.AfterFunc(g.ctx, func() { conn.Close(); server.Close() })
	defer stop()
	var other sync.WaitGroup
	other.Go(func() { g.copy(server, conn) })
	g.copy(conn, server)
	other.Wait()
}

// copy forwards bytes while the gate is open.
func (g *gate) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !g.wait() {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
