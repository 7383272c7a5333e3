package relay

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/policy"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/relaytest"
)

// countedConn counts the reads of a connection.
type countedConn struct {
	net.Conn
	reads *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// streams returns functions that connect to a relay over TCP and over TLS. reads counts the relay's reads.
func streams(t *testing.T, r *Relay) (dials map[string]func() net.Conn, reads *atomic.Int64) {
	t.Helper()
	key, err := ident.KeyFromSeed(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	config, err := ident.MutualTLS(key, "stun.turn", func(ident.PeerID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	reads = &atomic.Int64{}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	listen := func(wrap func(net.Conn) net.Conn) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		serving.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				serving.Go(func() { r.Serve(wrap(conn)) })
			}
		})
		return l.Addr().String()
	}
	plain := listen(func(c net.Conn) net.Conn { return countedConn{c, reads} })
	secure := listen(func(c net.Conn) net.Conn { return countedConn{tls.Server(c, config), reads} })
	dial := func(conn net.Conn, err error) net.Conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	return map[string]func() net.Conn{
		"TCP": func() net.Conn { return dial(net.Dial("tcp", plain)) },
		"TLS": func() net.Conn { return dial(tls.Dial("tcp", secure, config)) },
	}, reads
}

const attackers = 32

// TestFramesWithWrappedLengthsEndTheConnection sends frames whose lengths wrap around 16 bits. A server that takes
// such a length for 0 loops for ever, so its goroutine would be left when the tests end.
func TestFramesWithWrappedLengthsEndTheConnection(t *testing.T) {
	r := start(t, nil)
	dials, _ := streams(t, r)
	for name, frame := range map[string][]byte{
		"12 bytes of channel data": append([]byte{0x40, 0, 0xff, 0xfc}, make([]byte, 8)...),
		"20 bytes of STUN":         append([]byte{0, 1, 0xff, 0xec, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...),
		"65 KB of STUN":            append([]byte{0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...),
	} {
		for over, dial := range dials {
			t.Run(name+" over "+over, func(t *testing.T) {
				for range attackers {
					conn := dial()
					conn.SetDeadline(time.Now().Add(waittest.Timeout))
					conn.Write(frame)
					if n, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
						t.Fatalf("read %d bytes, %v; want the end of the connection", n, err)
					}
				}
				waittest.Until(t, "the relay has closed the connections", func() bool { return r.Usage().Streams == 0 })
			})
		}
	}
}

// TestTrickleCostsLittle sends the longest frame byte by byte on many connections. The relay must neither poll nor
// grow.
func TestTrickleCostsLittle(t *testing.T) {
	const trickle = 200 // bytes
	frame := make([]byte, maxFrame)
	binary.BigEndian.PutUint16(frame, 1)
	binary.BigEndian.PutUint16(frame[2:], (maxFrame-stunHeader)&^3)
	binary.BigEndian.PutUint32(frame[4:], magicCookie)
	r := start(t, nil)
	dials, reads := streams(t, r)
	for over, dial := range dials {
		t.Run(over, func(t *testing.T) {
			var conns []*raw
			for range attackers {
				c := rawOver(t, dial(), Credentials{})
				c.exchange(message(stun.BindingRequest)) // the relay serves the connection now
				conns = append(conns, c)
			}
			var before, after runtime.MemStats
			goroutines, readsBefore := runtime.NumGoroutine(), reads.Load()
			runtime.ReadMemStats(&before)
			for i := range trickle {
				for _, c := range conns {
					c.write(frame[i : i+1])
				}
			}
			runtime.ReadMemStats(&after)
			if grown := int64(after.StackInuse) - int64(before.StackInuse); grown > 2<<20 {
				t.Errorf("the stacks have grown by %d bytes", grown)
			}
			if n := runtime.NumGoroutine(); n > goroutines+4 {
				t.Errorf("%d goroutines, %d before", n, goroutines)
			}
			for _, c := range conns {
				c.conn.Close()
			}
			waittest.Until(t, "the relay has closed the connections", func() bool { return r.Usage().Streams == 0 })
			if n, most := reads.Load()-readsBefore, int64(attackers*(trickle+2)); n > most {
				t.Errorf("the relay has read %d times, want at most once for each byte: %d", n, most)
			}
		})
	}
}

// TestForgedSourceGetsFewAnswers counts the answers that a victim gets when somebody forges its address.
func TestForgedSourceGetsFewAnswers(t *testing.T) {
	clock := newClock()
	r := startWith(t, func(c *Config) { c.Now = clock.now }, func(r *Relay) { limitAll(r, clock.now) })
	padding := attribute(stun.AttrPadding, make([]byte, 4))
	for name, c := range map[string]struct {
		request *stun.Message
		most    float64 // bytes of an answer for each byte of a request
	}{
		"Binding":                     {message(stun.BindingRequest), 1.7},
		"Binding with a fingerprint":  {message(stun.BindingRequest, stun.Fingerprint), 1.5},
		"Binding with padding":        {message(stun.BindingRequest, padding), 2.4},
		"Allocate":                    {message(allocateRequest), 6.1},
		"Allocate as clients send it": {message(allocateRequest, overUDP), 4.4},
	} {
		t.Run(name, func(t *testing.T) {
			clock.add(time.Minute)
			victim, err := net.Dial("udp", r.address())
			if err != nil {
				t.Fatal(err)
			}
			defer victim.Close()
			answers, length := countAnswers(t, r, victim, 1000, func(int) error {
				_, err := victim.Write(c.request.Raw)
				return err
			})
			factor := float64(length) / float64(len(c.request.Raw))
			t.Logf("1000 requests of %d bytes: %d answers of %d bytes, each %.2f times as long (%.2f on the wire)",
				len(c.request.Raw), answers, length, factor, float64(length+28)/float64(len(c.request.Raw)+28))
			if answers != policy.AnswerBurst || factor > c.most {
				t.Errorf("%d answers, %.2f times as long; want %d, at most %.2f",
					answers, factor, policy.AnswerBurst, c.most)
			}
		})
	}
}

// TestPrivateAddressesAreNotReached asks for a permission and a channel to each address of the table, and sends packets
// there whatever the answers are.
func TestPrivateAddressesAreNotReached(t *testing.T) {
	r := startWith(t, nil, func(r *Relay) {
		r.addresses.Own = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("93.184.216.1")} }
	})
	canaries := map[int]net.PacketConn{}
	four := listenBelow(t, "0.0.0.0", 49152)
	port := four.LocalAddr().(*net.UDPAddr).Port
	canaries[4] = four
	if six, err := net.ListenUDP("udp6", &net.UDPAddr{Port: port}); err == nil {
		defer six.Close()
		canaries[6] = six
	}
	newClient := func() *raw {
		c := newRaw(t, r, "udp", r.Issue(peer(1)))
		if _, code := c.allocate(); code != 0 {
			t.Fatal(code)
		}
		return c
	}
	c := newClient()
	for n, row := range relaytest.Addresses {
		ip := netip.MustParseAddr(row.Address)
		if ip.Zone() != "" {
			continue // messages hold no zones
		}
		to := netip.AddrPortFrom(ip, uint16(port))
		permission, channel := c.permit(to), c.bind(uint16(0x4000+n), to)
		want := wantCode(r, ip, row.Permitted)
		if want == 0 && ip.Is4In6() && channel == stun.CodeBadRequest {
			channel = 0 // the client has a channel to the same address in another notation
		}
		if permission != want || channel != want {
			t.Errorf("%s: %d for a permission and %d for a channel, want %d", row.Address, permission, channel, want)
		}
		if !row.Permitted {
			c.send(to, []byte("by indication"))
			c.channel(uint16(0x4000+n), []byte("by channel"))
		}
		if n%32 == 31 { // before the client has too many permissions
			c.request(message(refreshRequest, lifetime(0)))
			c = newClient()
		}
	}
	// An answer proves that the relay has handled everything that was sent before.
	if answer := c.exchange(message(stun.BindingRequest)); answer.Type != stun.BindingSuccess {
		t.Errorf("got %s", answer)
	}
	buf := make([]byte, 100)
	for family, canary := range canaries {
		canary.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, from, err := canary.ReadFrom(buf); err == nil {
			t.Errorf("the canary of IPv%d got %q from %s", family, buf[:n], from)
		}
	}
	if sent := r.Usage().FromClients; sent != (Flow{}) {
		t.Errorf("%+v was relayed, want nothing", sent)
	}
}

// wantCode returns the error code of a request for a permission to ip.
func wantCode(r *Relay, ip netip.Addr, permitted bool) stun.ErrorCode {
	switch {
	case ip.Unmap().Is6():
		return stun.CodePeerAddrFamilyMismatch
	case permitted:
		return 0
	case ip.Unmap() == r.table.ports.IP:
		return 0 // but only for the ports of relays, as the canaries show
	}
	return stun.CodeForbidden
}

// TestDataPlaneChecksPermissions writes to an allocation without the checks of the TURN server.
func TestDataPlaneChecksPermissions(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	relayed, code := c.allocate()
	if code != 0 {
		t.Fatal(code)
	}
	canary := listenBelow(t, "127.0.0.1", 49152)
	r.table.mu.Lock()
	conn := r.table.byPort[relayed.Port()]
	r.table.mu.Unlock()
	conn.permissions.permit(netip.MustParseAddr("127.0.0.1"), true, time.Now())
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
		t.Errorf("%+v, want 4 packets dropped", u.Traffic)
	}
}

// TestShortAttributesAreHarmless sends attributes of impossible lengths. pion/stun reads beyond an address attribute
// that is too short, which ends the process if no memory follows the message.
func TestShortAttributesAreHarmless(t *testing.T) {
	r := start(t, nil)
	c := newRaw(t, r, "udp", r.Issue(peer(1)))
	if _, code := c.allocate(); code != 0 {
		t.Fatal(code)
	}
	for _, attr := range []stun.AttrType{
		stun.AttrXORPeerAddress, stun.AttrChannelNumber, stun.AttrLifetime,
		stun.AttrXORMappedAddress, stun.AttrEvenPort, stun.AttrMessageIntegrity,
	} {
		for length := range 6 {
			for padding := range 60 {
				data := attribute(stun.AttrData, make([]byte, 4*padding))
				c.write(message(sendIndication, data, attribute(attr, make([]byte, length))).Raw)
			}
			if answer := c.exchange(message(stun.BindingRequest)); answer.Type != stun.BindingSuccess {
				t.Fatalf("after an attribute %s of %d bytes: %s", attr, length, answer)
			}
		}
	}
}

// TestTwoServersDoNotShareAPort checks that the sockets of one server share a port with no other socket.
func TestTwoServersDoNotShareAPort(t *testing.T) {
	r := start(t, nil)
	if s, err := Listen(r.address(), netip.Addr{}); err == nil {
		s.Close()
		t.Error("a second server has opened the same address")
	}
}

// TestClientsStayAtTheirSocket has more clients than sockets. Each of them allocates, refreshes and relays.
func TestClientsStayAtTheirSocket(t *testing.T) {
	r := start(t, func(c *Config) { c.Quota = 64 })
	var clients []*raw
	var relayed []netip.AddrPort
	for range 24 {
		c := newRaw(t, r, "udp", r.Issue(peer(1)))
		address, code := c.allocate()
		if code != 0 {
			t.Fatal(code)
		}
		clients, relayed = append(clients, c), append(relayed, address)
	}
	for i, c := range clients {
		next := (i + 1) % len(clients)
		if code := c.bind(0x4000, relayed[next]); code != 0 {
			t.Fatalf("client %d: %d", i, code)
		}
		if _, code := c.request(message(refreshRequest)); code != 0 {
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
		if got := next.read(); !slices.Equal(got, []byte{0x40, 1, 0, 1, byte(i)}) {
			t.Fatalf("from client %d: %x", i, got)
		}
	}
}
