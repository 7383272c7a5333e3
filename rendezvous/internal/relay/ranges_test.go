package relay

import (
	"net"
	"net/netip"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/relaytest"
)

func TestRangeIsReadAsWritten(t *testing.T) {
	r := Range{IP: netip.MustParseAddr("203.0.113.7"), First: 49152, Last: 65535}
	if got, err := ParseRange(r.String()); err != nil || got != r {
		t.Errorf("%s is parsed as %v, %v", r, got, err)
	}
	for _, text := range []string{
		"", "203.0.113.7", "203.0.113.7:1", "203.0.113.7:2-1", "203.0.113.7:0-1", "203.0.113.7:1-65536",
		"[2001:db8::1]:1-2", "::ffff:203.0.113.7:1-2", "host:1-2", "203.0.113.7:-1-2", "203.0.113.7:1-2-3",
	} {
		if got, err := ParseRange(text); err == nil {
			t.Errorf("%q is parsed as %v", text, got)
		}
	}
}

func FuzzRange(f *testing.F) {
	f.Add("203.0.113.7:49152-65535")
	f.Add("1.2.3.4:1-1")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRange(text)
		if err != nil {
			return
		}
		if again, err := ParseRange(r.String()); err != nil || again != r || r.First == 0 || r.First > r.Last {
			t.Errorf("%q: %v, then %v, %v", text, r, again, err)
		}
	})
}

func TestPortSet(t *testing.T) {
	var p portSet
	for _, port := range []uint16{0, 63, 64, 65535} {
		p.set(port)
	}
	p.unset(64)
	for port, want := range map[uint16]bool{
		0: true, 1: false, 63: true, 64: false, 65: false, 65534: false,
		65535: true,
	} {
		if p.has(port) != want {
			t.Errorf("%d: %t", port, p.has(port))
		}
	}
}

// TestRelaysOfOneClusterReachEachOther runs two relays at one address with a range each, and a third at a private
// address.
func TestRelaysOfOneClusterReachEachOther(t *testing.T) {
	one := start(t, func(c *Config) { c.MinPort, c.MaxPort = 49152, 51151 })
	two := start(t, func(c *Config) { c.MinPort, c.MaxPort = 51152, 53151 })
	three := start(t, func(c *Config) { c.IP = netip.MustParseAddr("127.0.0.3") })
	one.SetNeighbours([]Range{two.Range(), three.Range()})
	two.SetNeighbours([]Range{one.Range()})
	three.SetNeighbours([]Range{one.Range()})

	conns := map[*Relay]net.PacketConn{}
	for seed, r := range []*Relay{one, two, three} {
		tc, _ := client(t, r, "udp", r.Issue(peer(byte(seed+1))))
		conns[r] = allocate(t, tc)
	}
	for _, other := range []*Relay{two, three} {
		a, b := conns[one], conns[other]
		if _, err := b.WriteTo([]byte("permit"), a.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.WriteTo([]byte("hello"), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		relaytest.Receive(t, b, "hello", a.LocalAddr())
		if _, err := b.WriteTo([]byte("hello back"), a.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		relaytest.Receive(t, a, "hello back", b.LocalAddr())
	}

	// Other ports of the relays' machines get nothing, and relays outside the cluster are not reached.
	before := one.Usage().Dropped.Packets
	for _, ip := range []string{"127.0.0.1", "127.0.0.3"} {
		canary := listenBelow(t, ip, 49152)
		conns[one].WriteTo([]byte("to the canary"), canary.LocalAddr())
		waittest.Until(t, "the packet is dropped", func() bool { return one.Usage().Dropped.Packets > before })
		before = one.Usage().Dropped.Packets
	}
	if _, err := conns[two].WriteTo([]byte("x"), conns[three].LocalAddr()); err == nil {
		t.Error("a relay that is not a neighbour was permitted")
	}
	one.SetNeighbours([]Range{two.Range()})
	conns[one].WriteTo([]byte("to a relay that left"), conns[three].LocalAddr())
	waittest.Until(t, "a relay that has left the cluster is not reached",
		func() bool { return one.Usage().Dropped.Packets > before })
}

// listenBelow opens a socket whose port is below the limit, where no relay has ports.
func listenBelow(t *testing.T, ip string, limit int) net.PacketConn {
	t.Helper()
	for port := limit - 1; port > 1024; port-- {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip), Port: port})
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
	}
	t.Fatal("no port is free")
	return nil
}
