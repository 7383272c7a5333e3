package front

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
	"github.com/easyfind-usb/easyfind/proto/ident"
)

const patience = 20 * time.Second

// house is a front door with services that say who came.
type house struct {
	*Front
	t                   *testing.T
	log                 logtest.Journal
	public, turn, plain string
	came                chan string // "service address"
}

// open runs a front door until the test ends.
func open(t *testing.T, change func(*Config)) *house {
	t.Helper()
	h := &house{t: t, came: make(chan string, 64)}
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
	if h.Front, err = New(c); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ConnContext: ConnContext, Handler: WithTLS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := "https"
		if r.TLS == nil {
			kind = "http"
		}
		h.came <- kind + " " + hostOf(r.RemoteAddr)
		io.WriteString(w, "served")
	}))}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
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
	t.Cleanup(func() {
		cancel()
		server.Close()
		all.Wait()
		if len(h.limits.sources) != 0 || h.limits.waiting.Len() != 0 || len(h.conns) != 0 {
			t.Errorf("still counted: %d sources, %d waiting, %d connections", len(h.limits.sources), h.limits.waiting.Len(), len(h.conns))
		}
	})
	return h
}

// serve answers the first bytes and closes.
func (h *house) serve(what string, c net.Conn) {
	defer c.Close()
	h.came <- what + " " + hostOf(c.RemoteAddr().String())
	first := make([]byte, 64)
	n, err := c.Read(first)
	if err != nil {
		return
	}
	fmt.Fprintf(c, "%s:%s", what, first[:n])
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

// visit connects to an address, sends what comes before TLS, and then speaks
// with TLS (alpn nil: without) and returns the answer.
func (h *house) visit(to, before string, alpn *string, say string) (string, error) {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
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
	if _, err := io.WriteString(conn, say); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// saw wants the next visit.
func (h *house) saw(want string) {
	h.t.Helper()
	select {
	case got := <-h.came:
		if got != want {
			h.t.Errorf("came %q, want %q", got, want)
		}
	case <-time.After(patience):
		h.t.Fatalf("nobody came, want %q", want)
	}
}

func (h *house) nobody() {
	h.t.Helper()
	select {
	case got := <-h.came:
		h.t.Errorf("came %q", got)
	default:
	}
}

func ptr(s string) *string { return &s }
