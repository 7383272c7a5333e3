package front

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

	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

func TestWhatIsSpokenDecidesWhoServes(t *testing.T) {
	h := open(t, nil)
	for _, v := range []struct {
		alpn, say, want, answer string
	}{
		{signal.ALPN, "hello", "signal 127.0.0.1", "signal:hello"},
		{"stun.turn", "\x00\x01", "relay 127.0.0.1", "relay:\x00\x01"},
		{"http/1.1", get, "https 127.0.0.1", "served"},
		{"", get, "https 127.0.0.1", "served"},
		{"", "\x00\x01\x00\x00", "relay 127.0.0.1", "relay:"},
	} {
		got, err := h.visit(h.public, "", &v.alpn, v.say)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(got, v.answer) {
			t.Errorf("ALPN %q: answer %q, %v", v.alpn, got, err)
		}
		h.saw(v.want)
	}
	if got, err := h.visit(h.turn, "", nil, "\x00\x01\x00\x00!"); err != nil || got != "turn:\x00\x01\x00\x00!" {
		t.Errorf("TURN over TCP: %q, %v", got, err)
	}
	h.saw("turn 127.0.0.1")
	if _, err := h.visit(h.public, "", ptr("h2"), get); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("an unknown protocol: %v", err)
	}
	if got, _ := h.visit(h.public, "", nil, get); !strings.Contains(got, "https://") {
		t.Errorf("HTTP where HTTPS is spoken: %q", got)
	}
	h.nobody()
}

// header is a PROXY header of a version for a source.
func header(t *testing.T, version byte, source string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:443")))
	if strings.HasPrefix(source, "[") {
		h = proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:443")))
	}
	if version == 2 {
		if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("rendezvous.example.org")}}); err != nil {
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

func TestALoadBalancerSaysForWhomItConnects(t *testing.T) {
	h := open(t, balanced)
	for _, version := range []byte{1, 2} {
		for _, source := range []string{"203.0.113.9:1234", "[2001:db8:7::9]:1234"} {
			before := header(t, version, source)
			if got, err := h.visit(h.public, before, ptr(signal.ALPN), "hello"); err != nil || got != "signal:hello" {
				t.Errorf("version %d, %s: %q, %v", version, source, got, err)
			}
			h.saw("signal " + hostOf(source))
			h.visit(h.public, before, ptr("http/1.1"), get)
			h.saw("https " + hostOf(source))
			if got, err := h.visit(h.turn, before, nil, "\x00\x01\x00\x00!"); err != nil || got != "turn:\x00\x01\x00\x00!" {
				t.Errorf("TURN, version %d, %s: %q, %v", version, source, got, err)
			}
			h.saw("turn " + hostOf(source))
		}
	}
	own := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" // version 2, LOCAL
	h.visit(h.public, own, ptr("http/1.1"), get)
	h.saw("https 127.0.0.1")
	h.visit(h.public, "PROXY UNKNOWN\r\n", ptr("http/1.1"), get)
	h.saw("https 127.0.0.1")
}

func TestALoadBalancerWithoutAHeaderIsRefused(t *testing.T) {
	h := open(t, balanced)
	if _, err := h.visit(h.public, "", ptr(signal.ALPN), "hello"); err == nil {
		t.Error("it was served")
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
		conn.SetDeadline(time.Now().Add(patience))
		if n, err := io.Copy(io.Discard, conn); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes of answer, %v", name, n, err)
		}
		conn.Close()
	}
	h.nobody()
}

func TestAHeaderFromAnybodyElseIsRefused(t *testing.T) {
	h := open(t, func(c *Config) { c.Balancers = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	for _, version := range []byte{1, 2} {
		before := header(t, version, "203.0.113.9:1234")
		if got, err := h.visit(h.public, before, ptr(signal.ALPN), "hello"); err == nil {
			t.Errorf("version %d: %q", version, got)
		}
		if got, err := h.visit(h.turn, before, nil, "\x00\x01\x00\x00"); err == nil && got != "" {
			t.Errorf("version %d, TURN: %q", version, got)
		}
	}
	h.log.Await(t, "a PROXY protocol header came from outside of the networks of --proxy-protocol")
	if n := strings.Count(h.log.String(), "level=WARN"); n != 4 {
		t.Errorf("%d warnings, want 4:\n%s", n, &h.log)
	}
	if strings.Contains(h.log.String(), "203.0.113.9") {
		t.Error("what the header claims is logged")
	}
	h.nobody()
}

func TestPlainHTTPIsForReverseProxies(t *testing.T) {
	h := open(t, func(c *Config) { c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	if got, err := h.visit(h.plain, "", nil, get); err != nil || !strings.Contains(got, "served") {
		t.Errorf("%q, %v", got, err)
	}
	h.saw("http 127.0.0.1")
	other := open(t, nil)
	if got, _ := other.visit(other.plain, "", nil, get); got != "" {
		t.Errorf("a stranger got %q", got)
	}
	other.log.Await(t, "HTTP without TLS is for the networks of --trusted-proxies")
	other.nobody()
}

func TestASourceHasSoManyConnections(t *testing.T) {
	h := open(t, func(c *Config) { c.PerSource = 3 })
	hold := func() *tls.Conn {
		conn, err := tls.Dial("tcp", h.public, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{signal.ALPN}})
		if err != nil {
			return nil
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	held := []*tls.Conn{hold(), hold(), hold()}
	if slices.Contains(held, nil) {
		t.Fatal("fewer than three were let in")
	}
	if hold() != nil {
		t.Error("a fourth was let in")
	}
	h.log.Await(t, "--max-connections-per-source")
	held[0].Close()
	for deadline := time.Now().Add(patience); hold() == nil; {
		if time.Now().After(deadline) {
			t.Fatal("a freed place stays taken")
		}
	}
}

func TestWhoSaysNothingIsSentAway(t *testing.T) {
	h := open(t, func(c *Config) {
		balanced(c)
		c.Greeting = 300 * time.Millisecond
	})
	var silent []net.Conn
	for range 8 {
		conn, err := net.Dial("tcp", h.public)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "PROX") // and nothing more
		silent = append(silent, conn)
	}
	for _, conn := range silent {
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it is still there")
		}
	}
	h.log.Await(t, "i/o timeout")
}

func TestAFullHouseSendsTheSlowestAway(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	l := newLimits(1 << 20)
	f := &Front{limits: l, conns: map[*conn]struct{}{}}
	guest := func() *conn {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		return &conn{Conn: near, front: f}
	}
	first := guest()
	if !l.begin(t.Context(), first, clock) {
		t.Fatal("the first was not let in")
	}
	now = now.Add(sloth)
	for range maxWaiting - 1 {
		l.begin(t.Context(), guest(), clock)
	}
	if !l.begin(t.Context(), guest(), clock) {
		t.Fatal("nobody made place")
	}
	if _, err := first.Conn.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the slowest is still there: %v", err)
	}
	full, cancel := context.WithCancel(t.Context())
	cancel()
	if l.begin(full, guest(), clock) {
		t.Error("one was let in although nobody had been slow")
	}
	done := make(chan bool)
	second := l.waiting.Front().Value.(*conn)
	go func() { done <- l.begin(t.Context(), guest(), clock) }()
	l.settle(second)
	if !<-done {
		t.Error("a free place was not taken")
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
				t.Fatalf("%v, and yet %v, %q", err, source, early)
			}
			return
		}
		if !claims(raw) || len(early) > headerBuffer || !bytes.Contains(raw, early) {
			t.Fatalf("a header of %q with %q behind it", raw, early)
		}
		if source != nil {
			if _, err := addressOf(source); err != nil {
				t.Fatal(err)
			}
		}
	})
}
