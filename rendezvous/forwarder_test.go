package rendezvous

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// forwarder passes the connections to its port on to instances in turn, as a load
// balancer does. Tests use it where a port must be known before the instance
// runs, or must stay the same when the instance restarts.
type forwarder struct {
	listener net.Listener
	ctx      context.Context // of the test
	running  sync.WaitGroup

	mu      sync.Mutex
	targets []string
	changed chan struct{} // closed when targets change
}

// newForwarder returns a forwarder without instances: connections wait until there
// are some.
func newForwarder(t *testing.T) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{listener: l, ctx: t.Context(), changed: make(chan struct{})}
	f.running.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.running.Go(func() { f.forward(conn, n) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.running.Wait()
	})
	return f
}

// port returns the port that connections come to.
func (f *forwarder) port() int { return f.listener.Addr().(*net.TCPAddr).Port }

// address returns the address that connections come to.
func (f *forwarder) address() string { return f.listener.Addr().String() }

// to sets the addresses of the instances.
func (f *forwarder) to(targets ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = targets
	close(f.changed)
	f.changed = make(chan struct{})
}

// target returns the instance for the nth connection. It waits until there are
// instances, and returns "" if the test ends first.
func (f *forwarder) target(n int) string {
	for {
		f.mu.Lock()
		targets, changed := f.targets, f.changed
		f.mu.Unlock()
		if len(targets) > 0 {
			return targets[n%len(targets)]
		}
		select {
		case <-changed:
		case <-f.ctx.Done():
			return ""
		}
	}
}

func (f *forwarder) forward(conn net.Conn, n int) {
	defer conn.Close()
	target := f.target(n)
	if target == "" {
		return
	}
	other, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer other.Close()
	stop := context.AfterFunc(f.ctx, func() {
		conn.Close()
		other.Close()
	})
	defer stop()
	f.running.Go(func() {
		io.Copy(other, conn)
		other.(*net.TCPConn).CloseWrite()
	})
	io.Copy(conn, other)
}
