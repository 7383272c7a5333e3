//go:build linux

package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs/pebbletest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/processtest"
)

const certificateHost = "fleet.test"

// byACME returns the settings of an instance that gets its certificate from a.
func byACME(a *pebbletest.Authority, url string) []string {
	return []string{
		"--database-url", url, "--cluster-listen", "127.0.0.1:0", "--relay-ip", "127.0.0.1",
		"--public-url", "https://" + certificateHost, "--log-level", "debug",
		"--acme", "--acme-agree-terms", "--acme-directory", a.Directory, "--acme-ca", a.CA,
	}
}

// roundRobin passes connections on to instances in turn.
type roundRobin struct {
	listener net.Listener
	ctx      context.Context // of the test
	running  sync.WaitGroup

	targets []string
	set     chan struct{} // closed once targets is set
}

// newRoundRobin returns a round robin and its port. Connections wait for to.
func newRoundRobin(t *testing.T) (*roundRobin, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &roundRobin{listener: l, ctx: t.Context(), set: make(chan struct{})}
	r.running.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.forward(conn, n) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.running.Wait()
	})
	return r, l.Addr().(*net.TCPAddr).Port
}

// to waits until the instances listen, and passes connections on to them. It must be
// called once.
func (r *roundRobin) to(all ...*processtest.Instance) {
	for _, i := range all {
		r.targets = append(r.targets, i.Address())
	}
	close(r.set)
}

func (r *roundRobin) forward(conn net.Conn, n int) {
	defer conn.Close()
	select {
	case <-r.set:
	case <-r.ctx.Done():
		return
	}
	other, err := net.Dial("tcp", r.targets[n%len(r.targets)])
	if err != nil {
		return
	}
	defer other.Close()
	stop := context.AfterFunc(r.ctx, func() {
		conn.Close()
		other.Close()
	})
	defer stop()
	r.running.Go(func() {
		io.Copy(other, conn)
		other.(*net.TCPConn).CloseWrite()
	})
	io.Copy(conn, other)
}

// leafOf returns the certificate of an instance for a client that verifies it.
func leafOf(i *processtest.Instance, roots *x509.CertPool) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", i.Address(), &tls.Config{RootCAs: roots, ServerName: certificateHost})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// TestAnyInstanceAnswersAuthority: the authority connects several times through a
// load balancer, and every instance can answer it. One instance requests the
// certificate, and all use it.
func TestAnyInstanceAnswersAuthority(t *testing.T) {
	url := pgtest.Shared(t).Fresh(t)
	public, port := newRoundRobin(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port})
	both := []*processtest.Instance{
		processtest.Begin(t, program, byACME(a, url)...), processtest.Begin(t, program, byACME(a, url)...),
	}
	public.to(both...)
	roots := a.Roots(t)
	serials := map[string]bool{}
	for _, i := range both {
		i.Await()
		leaf, err := leafOf(i, roots)
		if err != nil {
			t.Fatal(err)
		}
		serials[leaf.SerialNumber.String()] = true
	}
	if len(serials) != 1 || a.Orders() != 1 || a.Accounts() != 1 {
		t.Errorf("%d certificates by %d orders of %d accounts, want one of each",
			len(serials), a.Orders(), a.Accounts())
	}
	logs := both[0].Log() + both[1].Log()
	own, others := strings.Count(logs, `"distributed":false`), strings.Count(logs, `"distributed":true`)
	if own == 0 || others == 0 {
		t.Errorf("answers of the instance that requested: %d, of the other one: %d", own, others)
	}
}

// TestCertificateAfterKilledInstance: an instance is killed while it waits for its
// certificate. Another instance then obtains one.
func TestCertificateAfterKilledInstance(t *testing.T) {
	url := pgtest.Shared(t).Fresh(t)
	public, port := newRoundRobin(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port})
	first := processtest.Begin(t, program, byACME(a, url)...)
	eventually(t, "the first instance has requested a certificate", func() error {
		if a.Orders() == 0 {
			return errors.New(first.Log())
		}
		return nil
	})
	first.Kill()
	second := processtest.Begin(t, program, byACME(a, url)...)
	began := time.Now()
	public.to(second)
	eventually(t, "the second instance waits", func() error {
		if !strings.Contains(second.Log(), "waiting for another instance") {
			return fmt.Errorf("%s", second.Log())
		}
		return nil
	})
	second.Await()
	if _, err := leafOf(second, a.Roots(t)); err != nil {
		t.Error(err)
	}
	t.Logf("the second instance had its certificate after %v", time.Since(began).Round(time.Millisecond))
}
