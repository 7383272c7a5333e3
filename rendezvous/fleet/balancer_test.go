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

// balancerAddress is from where the balancer connects to the instances, so that
// they know that its connections begin with a PROXY header.
const balancerAddress = "127.0.0.99"

const (
	healthEvery = 250 * time.Millisecond
	healthWait  = time.Second
	dialWait    = time.Second
)

// balancer is a TCP load balancer as they come: round robin among those whose
// /readyz is fine, without stickiness, and with a PROXY header that says for
// whom it connects.
type balancer struct {
	listener net.Listener
	backends []*backend
	next     atomic.Uint64
	running  sync.WaitGroup
	ctx      context.Context // of all connections
}

type backend struct {
	host string // which an instance keeps when it is started again
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

// watch asks a backend how it is.
func (b *balancer) watch(one *backend) {
	client := &http.Client{Timeout: healthWait, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}, DisableKeepAlives: true,
	}}
	tick := time.NewTicker(healthEvery)
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

// pass connects a client to the next backend that can be reached: one that is
// up, or, where none is, any.
func (b *balancer) pass(client net.Conn) {
	defer client.Close()
	dialer := net.Dialer{Timeout: dialWait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(balancerAddress)}}
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
	client.SetReadDeadline(time.Now().Add(healthWait)) // who was told to go goes
	other.Wait()
}

// gate is a way to an instance's port for other instances that can be shut, so
// that nothing passes and nobody is told.
type gate struct {
	listener net.Listener
	target   string
	opened   chan struct{} // by open, replaced by shut
	mu       sync.Mutex
	running  sync.WaitGroup
	ctx      context.Context
}

func newGate(t *testing.T) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0") // where the instance will listen
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	ctx, cancel := context.WithCancel(context.Background())
	g := &gate{listener: listener, target: free.Addr().String(), ctx: ctx, opened: make(chan struct{})}
	close(g.opened)
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

// through waits until the gate is open.
func (g *gate) through() bool {
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
	if !g.through() {
		return
	}
	server, err := net.Dial("tcp", g.target)
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

// copy passes bytes on while the gate is open.
func (g *gate) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !g.through() {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
