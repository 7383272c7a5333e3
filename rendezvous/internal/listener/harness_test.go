package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// harness is a Listener whose services report the connections that they get.
type harness struct {
	*Listener
	t                   *testing.T
	log                 logtest.Journal
	public, turn, plain string      // addresses
	served              chan string // "service client-address"
}

// open runs a Listener until the test ends.
func open(t *testing.T, change func(*Config)) *harness {
	t.Helper()
	h := &harness{t: t, served: make(chan string, 64)}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	key, err := ident.KeyFromSeed(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := key.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Public: listen(), TURN: listen(), Plain: listen(),
		TLS:    &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}},
		Signal: func(_ context.Context, c *tls.Conn) { h.serve("signal", c) },
		Relay:  func(c net.Conn) { h.serve("relay", c) },
		Logger: h.log.Logger(),
	}
	h.public, h.turn, h.plain = c.Public.Addr().String(), c.TURN.Addr().String(), c.Plain.Addr().String()
	if change != nil {
		change(&c)
	}
	if h.Listener, err = New(c); err != nil {
		t.Fatal(err)
	}
	h.run()
	return h
}

// run starts the Listener and its services, and joins them when the test ends.
func (h *harness) run() {
	server := &http.Server{ConnContext: ConnContext, Handler: WithTLS(http.HandlerFunc(h.serveHTTP))}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := h.Run(ctx); err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	for _, l := range []net.Listener{h.HTTPS(), h.HTTP()} {
		all.Go(func() { server.Serve(l) })
	}
	all.Go(func() {
		for {
			c, err := h.TURN().Accept()
			if err != nil {
				return
			}
			all.Go(func() { h.serve("turn", c) })
		}
	})
	h.t.Cleanup(func() {
		cancel()
		server.Close()
		all.Wait()
		s := h.Stats()
		sources := h.admission.connections.Len() + h.admission.greetings.Len()
		if s.Connections != 0 || s.Pending != 0 || sources != 0 {
			h.t.Errorf("still counted after the end: %+v", s)
		}
	})
}

func (h *harness) serveHTTP(w http.ResponseWriter, r *http.Request) {
	service := "https"
	if r.TLS == nil {
		service = "http"
	}
	h.served <- service + " " + hostOf(r.RemoteAddr)
	io.WriteString(w, "served")
}

// serve answers the first bytes of a connection and closes it.
func (h *harness) serve(service string, c net.Conn) {
	defer c.Close()
	h.served <- service + " " + hostOf(c.RemoteAddr().String())
	first := make([]byte, 64)
	n, err := c.Read(first)
	if err != nil {
		return
	}
	fmt.Fprintf(c, "%s:%s", service, first[:n])
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

// exchange connects to an address and sends before in the clear. Then it sends request, inside TLS unless alpn is
// nil, and returns the answer.
func (h *harness) exchange(address, before string, alpn *string, request string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	if _, err := io.WriteString(conn, before); err != nil {
		return "", err
	}
	if alpn != nil {
		config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
		if *alpn != "" {
			config.NextProtos = []string{*alpn}
		}
		conn = tls.Client(conn, config)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// expect waits for the next connection that a service got.
func (h *harness) expect(want string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), waittest.Timeout)
	defer cancel()
	select {
	case got := <-h.served:
		if got != want {
			h.t.Errorf("served %q, want %q", got, want)
		}
	case <-ctx.Done():
		h.t.Fatalf("no service got a connection, want %q", want)
	}
}

// expectNone fails the test if a service got a connection that was not expected.
func (h *harness) expectNone() {
	h.t.Helper()
	select {
	case got := <-h.served:
		h.t.Errorf("served %q, want nothing", got)
	default:
	}
}

func ptr(s string) *string { return &s }
