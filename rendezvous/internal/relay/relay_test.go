package relay

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v2"
	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a relay on loopback until the test ends. change may change its configuration.
func start(t *testing.T, change func(*Config)) *Relay {
	t.Helper()
	return startWith(t, change, nil)
}

// config returns the configuration of a relay on loopback.
func config(sockets *Sockets) Config {
	return Config{
		Sockets: sockets, IP: netip.MustParseAddr("127.0.0.1"),
		Secret: bytes.Repeat([]byte{7}, 32), Logger: slog.New(slog.DiscardHandler),
	}
}

// startWith is start with a change of the relay before it runs.
func startWith(t *testing.T, change func(*Config), inside func(*Relay)) *Relay {
	t.Helper()
	sockets, err := Listen("127.0.0.1:0", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, sockets, change, inside)
}

// startOn is startWith on some sockets.
func startOn(t *testing.T, sockets *Sockets, change func(*Config), inside func(*Relay)) *Relay {
	t.Helper()
	c := config(sockets)
	if change != nil {
		change(&c)
	}
	r, err := New(c)
	if err != nil {
		sockets.Close()
		t.Fatal(err)
	}
	if inside != nil {
		inside(r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func (r *Relay) address() string { return r.sockets.Address().String() }

func peer(seed byte) ident.PeerID { return ident.PeerID{seed} }

// client connects a TURN client of pion/turn over UDP or TCP.
func client(t *testing.T, r *Relay, network string, c Credentials) (*turn.Client, net.PacketConn) {
	t.Helper()
	var conn net.PacketConn
	if network == "udp" {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn = socket
	} else {
		stream, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		conn = turn.NewSTUNConn(stream)
	}
	t.Cleanup(func() { conn.Close() })
	loggers := logging.NewDefaultLoggerFactory()
	loggers.DefaultLogLevel = logging.LogLevelDisabled
	tc, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: r.address(), TURNServerAddr: r.address(),
		Conn: conn, Username: c.Username, Password: c.Password, Realm: realm, LoggerFactory: loggers,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tc.Close)
	if err := tc.Listen(); err != nil {
		t.Fatal(err)
	}
	return tc, conn
}

// allocate makes an allocation.
func allocate(t *testing.T, tc *turn.Client) net.PacketConn {
	t.Helper()
	conn, err := tc.Allocate()
	if err != nil {
		t.Fatalf("allocate: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// clock is a clock that a test moves.
type clock struct{ unix atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.unix.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time      { return time.Unix(0, c.unix.Load()) }
func (c *clock) add(d time.Duration) { c.unix.Add(int64(d)) }

func TestBothSTUNPortsReturnTheClientAddress(t *testing.T) {
	r := start(t, nil)
	tc, conn := client(t, r, "udp", r.Issue(peer(1)))
	for _, server := range []net.Addr{r.sockets.Address(), r.sockets.second.LocalAddr()} {
		got, err := tc.SendBindingRequestTo(server)
		if err != nil || got.String() != conn.LocalAddr().String() {
			t.Errorf("%s returns %v, %v; want %s", server, got, err, conn.LocalAddr())
		}
	}
}

func TestTwoAllocationsReachEachOther(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			r := start(t, nil)
			one, _ := client(t, r, network, r.Issue(peer(1)))
			two, _ := client(t, r, "udp", r.Issue(peer(2)))
			a, b := allocate(t, one), allocate(t, two)
			if _, err := b.WriteTo([]byte("permit a"), a.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if _, err := a.WriteTo([]byte("hello"), b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			b.SetReadDeadline(time.Now().Add(waittest.Timeout))
			buf := make([]byte, 100)
			n, from, err := b.ReadFrom(buf)
			if err != nil || string(buf[:n]) != "hello" || from.String() != a.LocalAddr().String() {
				t.Fatalf("got %q from %v, %v", buf[:n], from, err)
			}
		})
	}
}

func TestNothingIsRelayedToThisMachine(t *testing.T) {
	r := start(t, nil)
	canary, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer canary.Close()
	one, _ := client(t, r, "udp", r.Issue(peer(1)))
	two, _ := client(t, r, "udp", r.Issue(peer(2)))
	a, b := allocate(t, one), allocate(t, two)

	// The address of the relay is permitted for its allocations, but no other port of it is reached. The packet to b
	// proves that the relay has handled the packet to the canary.
	a.WriteTo([]byte("to the canary"), canary.LocalAddr())
	if _, err := b.WriteTo([]byte("permit a"), a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	a.WriteTo([]byte("to b"), b.LocalAddr())
	b.SetReadDeadline(time.Now().Add(waittest.Timeout))
	buf := make([]byte, 100)
	if n, _, err := b.ReadFrom(buf); err != nil || string(buf[:n]) != "to b" {
		t.Fatalf("b got %q, %v", buf[:n], err)
	}
	canary.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, from, err := canary.ReadFrom(buf); err == nil {
		t.Errorf("the canary got %q from %s", buf[:n], from)
	}
	for _, private := range []string{"127.0.0.2:9", "169.254.169.254:80", "10.0.0.1:53"} {
		to, err := net.ResolveUDPAddr("udp4", private)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.WriteTo([]byte("x"), to); err == nil {
			t.Errorf("%s was permitted", private)
		}
	}
}

func TestAllowedNetworkIsReached(t *testing.T) {
	r := start(t, func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
	friend, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer friend.Close()
	tc, _ := client(t, r, "udp", r.Issue(peer(1)))
	a := allocate(t, tc)
	if _, err := a.WriteTo([]byte("hello"), friend.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	friend.SetReadDeadline(time.Now().Add(waittest.Timeout))
	buf := make([]byte, 100)
	if n, from, err := friend.ReadFrom(buf); err != nil || from.String() != a.LocalAddr().String() {
		t.Errorf("got %q from %v, %v", buf[:n], from, err)
	}
}

func TestWrongAndExpiredCredentialsAreRefused(t *testing.T) {
	clock := newClock()
	r := start(t, func(c *Config) { c.Now = clock.now })
	good := r.Issue(peer(1))
	wrong := good
	wrong.Password = "guess"
	other := good
	other.Username = r.Issue(peer(2)).Username
	clock.add(-policy.Validity - time.Second)
	expired := r.Issue(peer(1))
	clock.add(policy.Validity + time.Second)
	for name, c := range map[string]Credentials{
		"wrong password": wrong, "username of another peer": other, "expired": expired,
		"a username that no relay issued": {Username: "someone", Password: "x"},
	} {
		tc, _ := client(t, r, "udp", c)
		if _, err := tc.Allocate(); err == nil {
			t.Errorf("%s: an allocation was made", name)
		}
	}
	if n := r.Allocations(); n != 0 {
		t.Errorf("%d allocations", n)
	}
}

func TestRevocationEndsAllocations(t *testing.T) {
	r := start(t, func(c *Config) { c.Quota = 2 })
	credentials := r.Issue(peer(1))
	for range 2 {
		tc, _ := client(t, r, "udp", credentials)
		allocate(t, tc)
	}
	tc, _ := client(t, r, "udp", r.Issue(peer(1)))
	if _, err := tc.Allocate(); err == nil {
		t.Error("the peer has a third allocation")
	}
	other, _ := client(t, r, "udp", r.Issue(peer(2)))
	allocate(t, other)
	r.Revoke(peer(1), time.Now())
	waittest.Until(t, "only the other peer's allocation is left", func() bool { return r.Allocations() == 1 })
	again, _ := client(t, r, "udp", credentials)
	if _, err := again.Allocate(); err == nil {
		t.Error("the credentials of the revoked peer are still valid")
	}
}

func TestMalformedFrameEndsTheConnection(t *testing.T) {
	r := start(t, nil)
	for name, frame := range map[string][]byte{
		"STUN whose length wraps": append([]byte{0, 1, 0xff, 0xec, 0x21, 0x12, 0xa4, 0x42},
			make([]byte, 12)...),
		"channel data whose length wraps": append([]byte{0x40, 0, 0xff, 0xfc}, make([]byte, 8)...),
		"a frame larger than 1599 bytes":  {0x40, 0, 0x06, 0x3c},
		"no magic cookie":                 make([]byte, 20),
		"HTTP":                            []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		conn, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(waittest.Timeout))
		conn.Write(frame)
		if n, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%s: read %d bytes, %v; want the end of the connection", name, n, err)
		}
		conn.Close()
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func TestStreamsOfOneSourceAreBounded(t *testing.T) {
	r := start(t, nil)
	for range maxStreamsPerSource {
		conn, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	waittest.Until(t, "all are counted", func() bool { return r.Usage().Streams == maxStreamsPerSource })
	conn, err := net.Dial("tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("one too many: %v, want the end of the connection", err)
	}
}

func TestAbandonedAllocationMakesRoom(t *testing.T) {
	clock := newClock()
	r := start(t, func(c *Config) { c.Quota, c.Now = 1, clock.now })
	first, _ := client(t, r, "udp", r.Issue(peer(1)))
	allocate(t, first)
	clock.add(abandonedAfter + time.Second)
	second, _ := client(t, r, "udp", r.Issue(peer(1)))
	allocate(t, second)
	waittest.Until(t, "one allocation is left", func() bool { return r.Allocations() == 1 })
}
