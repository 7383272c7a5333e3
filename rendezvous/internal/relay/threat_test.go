package relay

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// streams are the two ways in which clients come by a stream.
func streams(t *testing.T, r *Relay) map[string]func() net.Conn {
	t.Helper()
	key, err := ident.KeyFromSeed(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	server, err := ident.MutualTLS(key, "stun.turn", func(ident.PeerID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.Serve(conn)
		}
	}()
	dial := func(conn net.Conn, err error) net.Conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	return map[string]func() net.Conn{
		"TCP": func() net.Conn { return dial(net.Dial("tcp", r.address())) },
		"TLS": func() net.Conn { return dial(tls.Dial("tcp", listener.Addr().String(), server)) },
	}
}

const attackers = 32

// TestFramesThatPinAProcessorDoNot has connections with frames whose lengths
// wrap round 16 bits: a server that takes such a length for 0 spins for ever.
func TestFramesThatPinAProcessorDoNot(t *testing.T) {
	r := start(t, nil)
	for name, frame := range map[string][]byte{
		"12 bytes of channel data": append([]byte{0x40, 0, 0xff, 0xfc}, make([]byte, 8)...),
		"20 bytes of STUN":         append([]byte{0, 1, 0xff, 0xec, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...),
		"65 KB of STUN":            append([]byte{0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...),
	} {
		for over, dial := range streams(t, r) {
			t.Run(name+" over "+over, func(t *testing.T) {
				for range attackers {
					conn := dial()
					conn.SetDeadline(time.Now().Add(patience))
					conn.Write(frame)
					if n, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
						t.Fatalf("read %d bytes, %v; want the end of the connection", n, err)
					}
				}
				waittest.Until(t, "they are gone", func() bool { return r.Usage().Streams == 0 })
				if used := processorTime(t, 300*time.Millisecond); used > 150*time.Millisecond {
					t.Errorf("after that %s of processor time is used in 300 ms", used)
				}
			})
		}
	}
}

// TestATrickleCostsNothing has connections that send the longest frame byte by
// byte.
func TestATrickleCostsNothing(t *testing.T) {
	r := start(t, nil)
	for over, dial := range streams(t, r) {
		t.Run(over, func(t *testing.T) {
			frame := make([]byte, maxFrame)
			binary.BigEndian.PutUint16(frame, 1)
			binary.BigEndian.PutUint16(frame[2:], (maxFrame-stunHeader)&^3)
			binary.BigEndian.PutUint32(frame[4:], magicCookie)
			var conns []net.Conn
			for range attackers {
				conns = append(conns, dial())
			}
			waittest.Until(t, "all are there", func() bool { return r.Usage().Streams == attackers })
			var before, after runtime.MemStats
			goroutines := runtime.NumGoroutine()
			runtime.ReadMemStats(&before)
			for i := range 200 {
				for _, conn := range conns {
					if _, err := conn.Write(frame[i : i+1]); err != nil {
						t.Fatal(err)
					}
				}
			}
			runtime.ReadMemStats(&after)
			if grown := int64(after.StackInuse) - int64(before.StackInuse); grown > 2<<20 {
				t.Errorf("the stacks have grown by %d bytes", grown)
			}
			if n := runtime.NumGoroutine(); n > goroutines+4 {
				t.Errorf("%d goroutines were %d", n, goroutines)
			}
			if used := processorTime(t, 300*time.Millisecond); used > 150*time.Millisecond {
				t.Errorf("%s of processor time is used in 300 ms", used)
			}
			for _, conn := range conns {
				conn.Close()
			}
			waittest.Until(t, "they are gone", func() bool { return r.Usage().Streams == 0 })
		})
	}
}

// TestAForgedSourceGetsFewAnswers is what a victim receives in whose name
// somebody asks.
func TestAForgedSourceGetsFewAnswers(t *testing.T) {
	at := newClock()
	r := startWith(t, func(c *Config) { c.Now = at.now }, func(r *Relay) {
		r.answers.trusted = func(netip.Addr) bool { return false }
	})
	for name, c := range map[string]struct {
		request message
		most    float64 // bytes of an answer for each of a request
	}{
		"Binding":                   {begin(bindingRequest), 1.7},
		"Binding with a mark":       {begin(bindingRequest).addFingerprint(), 1.5},
		"Binding, unknown":          {begin(bindingRequest).add(0x0026, make([]byte, 4)), 2.4},
		"Allocate":                  {begin(allocateRequest), 6.1},
		"Allocate as clients do it": {begin(allocateRequest).add(attrTransport, []byte{17, 0, 0, 0}), 4.4},
	} {
		t.Run(name, func(t *testing.T) {
			at.add(time.Minute)
			victim, err := net.Dial("udp", r.address())
			if err != nil {
				t.Fatal(err)
			}
			defer victim.Close()
			before := r.Usage().Unanswered
			for range 1000 {
				if _, err := victim.Write(c.request); err != nil {
					t.Fatal(err)
				}
			}
			buf, answers, length := make([]byte, 2048), 0, 0
			waittest.Until(t, "every request was answered or not", func() bool {
				for {
					victim.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
					n, err := victim.Read(buf)
					if err != nil {
						break
					}
					answers, length = answers+1, n
				}
				return uint64(answers)+r.Usage().Unanswered-before == 1000
			})
			factor := float64(length) / float64(len(c.request))
			t.Logf("1000 requests of %d bytes: %d answers of %d bytes, each %.2f times as long (%.2f on the wire)",
				len(c.request), answers, length, factor, float64(length+28)/float64(len(c.request)+28))
			if answers != answerBurst || factor > c.most {
				t.Errorf("%d answers, %.2f times as long; want %d, at most %.2f", answers, factor, answerBurst, c.most)
			}
		})
	}
}

// TestNoNotationLeadsInside asks for a permission and a channel to each address
// of the table, and sends there whatever the answer was.
func TestNoNotationLeadsInside(t *testing.T) {
	r := startWith(t, nil, func(r *Relay) {
		r.policy.own = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("93.184.216.1")} }
	})
	canaries := map[int]net.PacketConn{}
	port := listenBelow(t, "0.0.0.0", 49152)
	at := port.LocalAddr().(*net.UDPAddr).Port
	canaries[4] = port
	if six, err := net.ListenUDP("udp6", &net.UDPAddr{Port: at}); err == nil {
		defer six.Close()
		canaries[6] = six
	}
	client := func() *raw {
		c := newRaw(t, r, "udp", r.Issue(peer(1)))
		if _, code := c.allocate(); code != 0 {
			t.Fatal(code)
		}
		return c
	}
	asks := client()
	for n, c := range notations {
		ip := netip.MustParseAddr(c.address)
		if ip.Zone() != "" {
			continue // is not on the wire
		}
		to := netip.AddrPortFrom(ip, uint16(at))
		permission, channel := asks.permit(to), asks.bind(uint16(0x4000+n), to)
		want := 403
		switch {
		case ip.Unmap().Is6():
			want = 443
		case c.want:
			want = 0
		case ip.Unmap() == r.table.at.IP:
			want = 0 // for the ports of relays only, see below
		}
		if want == 0 && ip.Is4In6() && channel == 400 {
			channel = 0 // there is one to the same address
		}
		if permission != want || channel != want {
			t.Errorf("%s: %d for a permission and %d for a channel, want %d", c.address, permission, channel, want)
		}
		if !c.want {
			asks.send(to, []byte("by indication"))
			asks.channel(uint16(0x4000+n), []byte("by channel"))
		}
		if n%32 == 31 {
			asks.request(begin(refreshRequest).add(attrLifetime, make([]byte, 4)))
			asks = client() // for the bound of permissions
		}
	}
	if answer := asks.exchange(begin(bindingRequest)); answer.kind() != bindingSuccess { // what came before was handled
		t.Errorf("got %x", []byte(answer))
	}
	buf := make([]byte, 100)
	for family, canary := range canaries {
		canary.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, from, err := canary.ReadFrom(buf); err == nil {
			t.Errorf("the canary of IPv%d got %q from %s", family, buf[:n], from)
		}
	}
	if sent := r.Usage().FromClients; sent != (Flow{}) {
		t.Errorf("%+v was relayed", sent)
	}
}

// TestTheRelayItselfChecksWhatItSends writes past the TURN server's own check.
func TestTheRelayItselfChecksWhatItSends(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	relayed, code := c.allocate()
	if code != 0 {
		t.Fatal(code)
	}
	canary := listenBelow(t, "127.0.0.1", 49152)
	r.table.mu.Lock()
	conn := r.table.ports[relayed.Port()]
	r.table.mu.Unlock()
	conn.permit(netip.MustParseAddr("127.0.0.1"), true)
	for _, to := range []net.Addr{
		canary.LocalAddr(),
		&net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 9},
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9},
		&net.UDPAddr{IP: net.IPv6loopback, Port: canary.LocalAddr().(*net.UDPAddr).Port},
	} {
		if n, err := conn.WriteTo([]byte("x"), to); n != 1 || err != nil {
			t.Errorf("%s: %d, %v", to, n, err)
		}
	}
	if u := r.Usage(); u.FromClients.Packets != 0 || u.Dropped.Packets != 4 {
		t.Errorf("%+v", u.Traffic)
	}
}

// TestAttributesOfNoLengthDoNotEndTheProcess: the STUN library reads beyond an
// address attribute that is too short, which ends the process where the message
// fills its memory.
func TestAttributesOfNoLengthDoNotEndTheProcess(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	for _, attr := range []uint16{attrXORPeerAddress, attrChannelNumber, attrLifetime, attrXORMapped, attrEvenPort, attrMessageIntegrity} {
		for length := range 6 {
			for padding := range 60 {
				m := begin(sendIndication).add(attrData, make([]byte, 4*padding))
				c.write(m.add(attr, make([]byte, length)))
			}
			if answer := c.exchange(begin(bindingRequest)); answer.kind() != bindingSuccess {
				t.Fatalf("attribute %04x of %d bytes: %x", attr, length, []byte(answer))
			}
		}
	}
}

// TestTwoServersDoNotShareAPort: sockets that share a port among themselves
// share it with nobody else.
func TestTwoServersDoNotShareAPort(t *testing.T) {
	r := start(t, nil)
	if s, err := Listen(r.address(), netip.Addr{}); err == nil {
		s.Close()
		t.Error("a second server listens at the same address")
	}
}

// TestEachClientStaysAtItsSocket has more clients than sockets, each of which
// allocates, is refreshed and relays.
func TestEachClientStaysAtItsSocket(t *testing.T) {
	r := start(t, func(c *Config) { c.Quota = 64 })
	var clients []*raw
	var relayed []netip.AddrPort
	for range 24 {
		c := newRaw(t, r, "udp", r.Issue(peer(1)))
		at, code := c.allocate()
		if code != 0 {
			t.Fatal(code)
		}
		clients, relayed = append(clients, c), append(relayed, at)
	}
	for i, c := range clients {
		next := (i + 1) % len(clients)
		if code := c.bind(0x4000, relayed[next]); code != 0 {
			t.Fatalf("client %d: %d", i, code)
		}
		if _, code := c.request(begin(refreshRequest)); code != 0 {
			t.Fatalf("client %d: %d", i, code)
		}
	}
	for i, c := range clients {
		before := (i + len(clients) - 1) % len(clients)
		if code := c.bind(0x4001, relayed[before]); code != 0 {
			t.Fatalf("client %d: %d", i, code)
		}
	}
	for i, c := range clients {
		c.channel(0x4000, []byte{byte(i)})
		next := clients[(i+1)%len(clients)]
		if got := next.read(patience); !slices.Equal(got, []byte{0x40, 1, 0, 1, byte(i)}) {
			t.Fatalf("from client %d: %x", i, []byte(got))
		}
	}
}
