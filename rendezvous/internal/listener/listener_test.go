package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

func TestProtocolSelectsTheService(t *testing.T) {
	h := open(t, nil)
	for _, v := range []struct {
		alpn, request, want, answer string
	}{
		{signal.ALPN, "hello", "signal 127.0.0.1", "signal:hello"},
		{"stun.turn", "\x00\x01", "relay 127.0.0.1", "relay:\x00\x01"},
		{"http/1.1", get, "https 127.0.0.1", "served"},
		{"", get, "https 127.0.0.1", "served"},
		{"", "\x00\x01\x00\x00", "relay 127.0.0.1", "relay:"},
	} {
		got, err := h.exchange(h.public, "", &v.alpn, v.request)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(got, v.answer) {
			t.Errorf("ALPN %q: answer %q, %v", v.alpn, got, err)
		}
		h.expect(v.want)
	}
	if got, err := h.exchange(h.turn, "", nil, "\x00\x01\x00\x00!"); err != nil || got != "turn:\x00\x01\x00\x00!" {
		t.Errorf("TURN over TCP: %q, %v", got, err)
	}
	h.expect("turn 127.0.0.1")
	_, err := h.exchange(h.public, "", ptr("h2"), get)
	if err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("an unknown protocol: %v", err)
	}
	if got, _ := h.exchange(h.public, "", nil, get); !strings.Contains(got, "https://") {
		t.Errorf("HTTP on the HTTPS port: %q", got)
	}
	h.expectNone()
}

// header returns a PROXY header of a version for a client.
func header(t *testing.T, version byte, client string) string {
	t.Helper()
	server := "192.0.2.1:443"
	if strings.HasPrefix(client, "[") {
		server = "[2001:db8::1]:443"
	}
	address := func(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }
	h := proxyproto.HeaderProxyFromAddrs(version, address(client), address(server))
	if version == 2 {
		name := proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("rendezvous.example.org")}
		if err := h.SetTLVs([]proxyproto.TLV{name}); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func balanced(c *Config) { c.Balancers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

func TestLoadBalancerNamesItsClient(t *testing.T) {
	h := open(t, balanced)
	for _, version := range []byte{1, 2} {
		for _, client := range []string{"203.0.113.9:1234", "[2001:db8:7::9]:1234"} {
			before := header(t, version, client)
			got, err := h.exchange(h.public, before, ptr(signal.ALPN), "hello")
			if err != nil || got != "signal:hello" {
				t.Errorf("version %d, %s: %q, %v", version, client, got, err)
			}
			h.expect("signal " + hostOf(client))
			h.exchange(h.public, before, ptr("http/1.1"), get)
			h.expect("https " + hostOf(client))
			got, err = h.exchange(h.turn, before, nil, "\x00\x01\x00\x00!")
			if err != nil || got != "turn:\x00\x01\x00\x00!" {
				t.Errorf("TURN, version %d, %s: %q, %v", version, client, got, err)
			}
			h.expect("turn " + hostOf(client))
		}
	}
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" // version 2, command LOCAL
	h.exchange(h.public, local, ptr("http/1.1"), get)
	h.expect("https 127.0.0.1")
	h.exchange(h.public, "PROXY UNKNOWN\r\n", ptr("http/1.1"), get)
	h.expect("https 127.0.0.1")
}

func TestLoadBalancerWithoutValidHeaderIsRefused(t *testing.T) {
	h := open(t, balanced)
	if _, err := h.exchange(h.public, "", ptr(signal.ALPN), "hello"); err == nil {
		t.Error("a connection without a header was served")
	}
	h.log.Await(t, "no PROXY protocol header came")
	for name, raw := range map[string]string{
		"a word":               "PROXY",
		"no addresses":         "PROXY TCP4\r\n",
		"a line too long":      "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n",
		"a UDP source":         "\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c" + strings.Repeat("\x01", 12),
		"a unix source":        "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("\x01", 216),
		"an unknown family":    "\r\n\r\n\x00\r\nQUIT\n\x21\x51\x00\x00",
		"addresses too short":  "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x01\x00",
		"a header beyond 4 KB": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("\x01", 12),
	} {
		conn, err := net.Dial("tcp", h.public)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, raw)
		conn.(*net.TCPConn).CloseWrite()
		conn.SetDeadline(time.Now().Add(waittest.Timeout))
		if n, err := io.Copy(io.Discard, conn); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes of answer, %v", name, n, err)
		}
		conn.Close()
	}
	h.expectNone()
}

func TestHeaderFromUntrustedClientIsRefused(t *testing.T) {
	h := open(t, func(c *Config) { c.Balancers = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	for _, version := range []byte{1, 2} {
		before := header(t, version, "203.0.113.9:1234")
		if got, err := h.exchange(h.public, before, ptr(signal.ALPN), "hello"); err == nil {
			t.Errorf("version %d: %q", version, got)
		}
		if got, err := h.exchange(h.turn, before, nil, "\x00\x01\x00\x00"); err == nil && got != "" {
			t.Errorf("version %d, TURN: %q", version, got)
		}
	}
	h.log.Await(t, "a PROXY protocol header came from outside of the networks of --proxy-protocol")
	if n := strings.Count(h.log.String(), "level=WARN"); n != 4 {
		t.Errorf("%d warnings, want 4:\n%s", n, &h.log)
	}
	if strings.Contains(h.log.String(), "203.0.113.9") {
		t.Error("the log contains the address that the header claims")
	}
	h.expectNone()
}

func TestPlainHTTPIsForReverseProxies(t *testing.T) {
	h := open(t, func(c *Config) { c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	if got, err := h.exchange(h.plain, "", nil, get); err != nil || !strings.Contains(got, "served") {
		t.Errorf("%q, %v", got, err)
	}
	h.expect("http 127.0.0.1")
	other := open(t, nil)
	if got, _ := other.exchange(other.plain, "", nil, get); got != "" {
		t.Errorf("a client that is no proxy got %q", got)
	}
	other.log.Await(t, "HTTP without TLS is for the networks of --trusted-proxies")
	other.expectNone()
}

func TestConnectionsOfOneSourceAreBounded(t *testing.T) {
	h := open(t, func(c *Config) { c.PerSource = 3 })
	dial := func() *tls.Conn {
		config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{signal.ALPN}}
		conn, err := tls.Dial("tcp", h.public, config)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	conns := []*tls.Conn{dial(), dial(), dial()}
	if slices.Contains(conns, nil) {
		t.Fatal("one of the first three connections was refused")
	}
	if dial() != nil {
		t.Error("a fourth connection was accepted")
	}
	h.log.Await(t, "--max-connections-per-source")
	if h.Stats().Refused != 1 {
		t.Errorf("%d refusals are counted, want 1", h.Stats().Refused)
	}
	conns[0].Close()
	waittest.Until(t, "a connection is accepted after another one has ended", func() bool { return dial() != nil })
}

func TestSilentConnectionIsClosed(t *testing.T) {
	h := open(t, func(c *Config) {
		balanced(c)
		c.GreetingTimeout = 300 * time.Millisecond
	})
	var silent []net.Conn
	for range 8 {
		conn, err := net.Dial("tcp", h.public)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "PROX") // an incomplete header
		silent = append(silent, conn)
	}
	for _, conn := range silent {
		conn.SetDeadline(time.Now().Add(waittest.Timeout))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a silent connection stays open")
		}
	}
	h.log.Await(t, "i/o timeout")
}

func TestFullListenerClosesTheSlowestHandshake(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	a := newAdmission(1 << 20)
	l := &Listener{admission: a, conns: map[*conn]struct{}{}}
	newConn := func() *conn {
		local, remote := net.Pipe()
		t.Cleanup(func() { local.Close(); remote.Close() })
		return &conn{Conn: local, listener: l}
	}
	first := newConn()
	if !a.admit(t.Context(), first, clock) {
		t.Fatal("the first connection was not admitted")
	}
	now = now.Add(handshakeTimeout)
	for range maxPending - 1 {
		a.admit(t.Context(), newConn(), clock)
	}
	if !a.admit(t.Context(), newConn(), clock) {
		t.Fatal("the slowest connection did not make room")
	}
	if _, err := first.Conn.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the slowest connection is still open: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if a.admit(ended, newConn(), clock) {
		t.Error("a connection was admitted although the listener is full and no handshake is slow")
	}
	done := make(chan bool)
	second := a.pending.Front().Value.(*conn)
	go func() { done <- a.admit(t.Context(), newConn(), clock) }()
	a.identified(second)
	if !<-done {
		t.Error("a free place was not used")
	}
}

func TestPendingConnectionsOfOneSourceAreBounded(t *testing.T) {
	a := newAdmission(1 << 20)
	source := netip.MustParsePrefix("192.0.2.1/32")
	var conns []*conn
	for range maxPendingPerSource {
		c := &conn{}
		a.admit(t.Context(), c, time.Now)
		if err := a.count(c, source); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	another := &conn{}
	a.admit(t.Context(), another, time.Now)
	if err := a.count(another, source); !errors.Is(err, errPending) {
		t.Errorf("one too many: %v", err)
	}
	a.identified(conns[0])
	if err := a.count(another, source); err != nil {
		t.Errorf("after one of them has shown its protocol: %v", err)
	}
	for _, c := range append(conns, another) {
		a.leave(c)
	}
	if pending, _ := a.stats(); pending != 0 || a.connections.Len() != 0 || a.greetings.Len() != 0 {
		t.Errorf("still counted: %d pending, %d connections", pending, a.connections.Len())
	}
}

func FuzzPROXYHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.9 192.0.2.1 1234 443\r\n\x16\x03\x01"))
	f.Add([]byte("PROXY TCP6 2001:db8::9 2001:db8::1 1234 443\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02rest"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		source, early, err := readHeader(bytes.NewReader(raw))
		if err != nil {
			if source != nil || early != nil {
				t.Fatalf("%v together with %v, %q", err, source, early)
			}
			return
		}
		if !isHeader(raw) || len(early) > headerBuffer || !bytes.Contains(raw, early) {
			t.Fatalf("a header was found in %q, followed by %q", raw, early)
		}
		if source != nil {
			if _, err := addressOf(source); err != nil {
				t.Fatal(err)
			}
		}
	})
}
