//go:build linux

package fleet

import (
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

// byACME are the settings of an instance that gets its certificate from a.
func byACME(a *pebbletest.Authority, url string) []string {
	return []string{
		"--database-url", url, "--cluster-listen", "127.0.0.1:0", "--relay-ip", "127.0.0.1", "--public-url", "https://" + certificateHost,
		"--acme", "--acme-agree-terms", "--acme-directory", a.Directory, "--acme-ca", a.CA, "--log-level", "debug",
	}
}

// turnabout passes connections on to instances in turn, once they listen.
type turnabout struct {
	listener net.Listener
	passing  sync.WaitGroup

	mu  sync.Mutex
	to  []*processtest.Instance
	set chan struct{} // closed when to is there
}

func newTurnabout(t *testing.T) (*turnabout, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &turnabout{listener: l, set: make(chan struct{})}
	a.passing.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			a.passing.Go(func() { a.pass(t, conn, n) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		a.passing.Wait()
	})
	return a, l.Addr().(*net.TCPAddr).Port
}

func (a *turnabout) among(all ...*processtest.Instance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.to = all
	close(a.set)
}

func (a *turnabout) pass(t *testing.T, conn net.Conn, n int) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	select {
	case <-a.set:
	case <-t.Context().Done():
		return
	}
	a.mu.Lock()
	to := a.to[n%len(a.to)]
	a.mu.Unlock()
	var other net.Conn
	for over := time.Now().Add(patience); other == nil && time.Now().Before(over); <-time.After(20 * time.Millisecond) {
		if at := to.Listens(); at != "" {
			var err error
			if other, err = net.Dial("tcp", at); err != nil {
				return
			}
		}
	}
	if other == nil {
		return
	}
	defer other.Close()
	a.passing.Go(func() {
		io.Copy(other, conn)
		other.(*net.TCPConn).CloseWrite()
	})
	io.Copy(conn, other)
}

// shown is the certificate of an instance, for a client that checks it.
func shown(i *processtest.Instance, roots *x509.CertPool) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", i.Listens(), &tls.Config{RootCAs: roots, ServerName: certificateHost})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// TestAnyInstanceProvesTheName: the authority, which comes several times and through
// a load balancer, is answered by whichever instance it meets; one asks for the
// certificate, and all show it.
func TestAnyInstanceProvesTheName(t *testing.T) {
	url := pgtest.Shared(t).Fresh(t)
	passer, port := newTurnabout(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port})
	both := []*processtest.Instance{processtest.Begin(t, program, byACME(a, url)...), processtest.Begin(t, program, byACME(a, url)...)}
	passer.among(both...)
	roots := a.Roots(t)
	serials := map[string]bool{}
	for _, i := range both {
		i.Await()
		leaf, err := shown(i, roots)
		if err != nil {
			t.Fatal(err)
		}
		serials[leaf.SerialNumber.String()] = true
	}
	if len(serials) != 1 || a.Orders() != 1 || a.Accounts() != 1 {
		t.Errorf("%d certificates by %d orders of %d accounts, want one of each", len(serials), a.Orders(), a.Accounts())
	}
	logs := both[0].Log() + both[1].Log()
	if own, others := strings.Count(logs, `"distributed":false`), strings.Count(logs, `"distributed":true`); own == 0 || others == 0 {
		t.Errorf("answers of the instance that asked: %d, of the other one: %d", own, others)
	}
}

// TestAKilledInstanceHoldsNoCertificateUp: an instance that is about to get a
// certificate, and killed, does not keep another from getting one.
func TestAKilledInstanceHoldsNoCertificateUp(t *testing.T) {
	url := pgtest.Shared(t).Fresh(t)
	passer, port := newTurnabout(t)
	a := pebbletest.Start(t, pebbletest.Options{TLSPort: port})
	first := processtest.Begin(t, program, byACME(a, url)...)
	eventually(t, "the first instance has asked", func() error {
		if a.Orders() == 0 {
			return errors.New(first.Log())
		}
		return nil
	})
	first.Kill()
	second := processtest.Begin(t, program, byACME(a, url)...)
	began := time.Now()
	passer.among(second)
	eventually(t, "the second instance waits", func() error {
		if !strings.Contains(second.Log(), "waiting for another instance") {
			return fmt.Errorf("%s", second.Log())
		}
		return nil
	})
	second.Await()
	if _, err := shown(second, a.Roots(t)); err != nil {
		t.Error(err)
	}
	t.Logf("the second instance had its certificate after %v", time.Since(began).Round(time.Millisecond))
}
