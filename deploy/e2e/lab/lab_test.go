package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sock opens a UDP socket in a node.
func sock(t *testing.T, l *Lab, node, addr string) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	if err := l.Do(node, func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const (
	retransmit = 250 * time.Millisecond // of a packet that has not arrived yet
	dropWait   = 2 * retransmit         // until a packet counts as dropped
)

// pass sends packets from one socket to another until one arrives, and returns its
// source address. It fails the test if none arrives within waittest.Timeout.
func pass(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn) netip.AddrPort {
	t.Helper()
	src, ok := send(t, from, to, at, waittest.Timeout)
	if !ok {
		t.Fatalf("nothing from %v arrives at %v", addr(from), to)
	}
	return src
}

// dropped sends packets from one socket to another and reports whether none arrives
// within dropWait.
func dropped(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn) bool {
	t.Helper()
	_, ok := send(t, from, to, at, dropWait)
	return !ok
}

func send(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn,
	timeout time.Duration,
) (netip.AddrPort, bool) {
	t.Helper()
	buf := make([]byte, 100)
	begin := time.Now()
	for time.Since(begin) < timeout {
		msg := fmt.Sprint(begin.UnixNano()) // the same in each retransmission
		if _, err := from.WriteToUDPAddrPort([]byte(msg), to); err != nil {
			t.Fatal(err)
		}
		if err := at.SetReadDeadline(time.Now().Add(retransmit)); err != nil {
			t.Fatal(err)
		}
		for {
			n, src, err := at.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			if string(buf[:n]) == msg {
				return netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), true
			}
		}
	}
	return netip.AddrPort{}, false
}

func addr(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func house(nat *NAT, link *Link) *Topology {
	return &Topology{Prefix: "ef-lab-", Seed: 1, Nodes: []Node{
		{Name: "inet", LAN: []string{"198.51.100.1/24", "203.0.113.1/24"}},
		{Name: "srv", Via: "inet", Addr: []string{"198.51.100.10/24", "198.51.100.11/24"}},
		{
			Name: "gw",
			Via:  "inet",
			Addr: []string{"203.0.113.10/24"},
			LAN:  []string{"192.168.1.1/24"},
			NAT:  nat,
			Link: link,
		},
		{Name: "a", Via: "gw", Addr: []string{"192.168.1.2/24"}},
		{Name: "a2", Via: "gw", Addr: []string{"192.168.1.3/24"}},
	}}
}

func TestEachPresetMapsAndFiltersAsItsName(t *testing.T) {
	want := map[string][2]string{
		"fullcone": {"ei", "ei"}, "restricted": {"ei", "ad"}, "portrestrict": {"ei", "apd"},
		"symmetric": {"apd", "apd"}, "symmetricseq": {"apd", "apd"}, "symmetricad": {"ad", "ad"},
		"linux": {"ei", "apd"}, "linuxrandom": {"apd", "apd"}, "linuxfully": {"apd", "apd"}, "linuxcone": {"ei", "ei"},
	}
	for name := range Presets() {
		t.Run(name, func(t *testing.T) {
			l := Start(t, house(&NAT{Type: name}, nil))
			s11 := sock(t, l, "srv", "198.51.100.10:1000")
			s12 := sock(t, l, "srv", "198.51.100.10:2000")
			s21 := sock(t, l, "srv", "198.51.100.11:1000")
			a := sock(t, l, "a", "192.168.1.2:5000")
			m := pass(t, a, addr(s11), s11)
			if m.Addr().String() != "203.0.113.10" {
				t.Fatal("the packet comes from", m)
			}
			mapping, filter := want[name][0], want[name][1]
			for remote, passes := range map[*net.UDPConn]bool{s12: filter != "apd", s21: filter == "ei"} {
				if passes {
					pass(t, remote, m, a)
				} else if !dropped(t, remote, m, a) {
					t.Errorf("a packet from %v passes the filter %s", addr(remote), filter)
				}
			}
			m2, m3 := pass(t, a, addr(s12), s12), pass(t, a, addr(s21), s21)
			if (m2 == m) != (mapping != "apd") || (m3 == m) != (mapping == "ei") {
				t.Errorf("the mapping %s gives %v, %v and %v", mapping, m, m2, m3)
			}
		})
	}
}

func TestMappingEndsByTimeoutAndByFlush(t *testing.T) {
	const timeout = 3 * time.Second
	l := Start(t, house(&NAT{Type: "portrestrict", Timeout: timeout}, nil))
	s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
	begin := time.Now()
	m := pass(t, a, addr(s), s)
	for !dropped(t, s, m, a) { // answers do not refresh the mapping
		if time.Since(begin) > timeout+waittest.Timeout {
			t.Fatal("the mapping outlives its timeout")
		}
	}
	if age := time.Since(begin); age < timeout {
		t.Errorf("the mapping ends after %v, want %v", age, timeout)
	}
	m = pass(t, a, addr(s), s)
	if err := l.FlushNAT("gw"); err != nil {
		t.Fatal(err)
	}
	if !dropped(t, s, m, a) {
		t.Error("the mapping survives a flush")
	}
	if m2 := pass(t, a, addr(s), s); m2 == m {
		t.Errorf("after a flush: %v, before: %v", m2, m)
	}
}

// Two hosts behind one NAT use the same port. A NAT with endpoint-independent mapping
// gives the second host another port permanently. Linux gives both the same port until
// they talk to the same remote, so the port that the second host learned before is
// then wrong.
func TestTwoHostsWithTheSamePort(t *testing.T) {
	for name, same := range map[string]bool{"portrestrict": true, "linux": false} {
		t.Run(name, func(t *testing.T) {
			l := Start(t, house(&NAT{Type: name}, nil))
			s1, s2 := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "srv", "198.51.100.11:1000")
			a, a2 := sock(t, l, "a", "192.168.1.2:5000"), sock(t, l, "a2", "192.168.1.3:5000")
			pass(t, a, addr(s1), s1)
			m2 := pass(t, a2, addr(s2), s2)
			m1 := pass(t, a2, addr(s1), s1)
			if (m1 == m2) != same || m1.Port() == 5000 {
				t.Errorf("the second host appears as %v and %v", m2, m1)
			}
		})
	}
}

// A packet from a stranger that arrives before the host behind the NAT has sent
// anything must not change the port that the host then gets.
func TestEarlyPacketPoisonsOnlyAnOpenWAN(t *testing.T) {
	for _, wan := range []string{"drop", "accept"} {
		t.Run(wan, func(t *testing.T) {
			l := Start(t, house(&NAT{Type: "linux", WAN: wan}, nil))
			s, s2 := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "srv", "198.51.100.11:1000")
			a := sock(t, l, "a", "192.168.1.2:5000")
			m := pass(t, a, addr(s), s)
			if !dropped(t, s2, m, a) { // too early
				t.Error("a packet from a stranger passes")
			}
			m2 := pass(t, a, addr(s2), s2)
			if poisoned := m2 != m; poisoned != (wan == "accept") {
				t.Errorf("mapped to %v, then after an early packet to %v", m, m2)
			}
		})
	}
}

func TestForwardedPortIsReachedFromOutside(t *testing.T) {
	for _, name := range []string{"symmetric", "linux"} {
		t.Run(name, func(t *testing.T) {
			l := Start(t, house(&NAT{Type: name, Forward: []Forward{
				{Proto: "tcp", Port: 7574, To: "192.168.1.2:7574"},
				{Proto: "udp", Port: 7000, To: "192.168.1.2:5000"},
			}}, nil))
			s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
			pass(t, s, netip.MustParseAddrPort("203.0.113.10:7000"), a)
			if m := pass(t, a, addr(s), s); m.Port() != 7000 {
				t.Errorf("the answer comes from %v, want port 7000", m)
			}
			var ln net.Listener
			var c net.Conn
			if err := l.Do("a", func() (err error) {
				ln, err = net.Listen("tcp4", "192.168.1.2:7574")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if err := l.Do("srv", func() (err error) {
				c, err = net.DialTimeout("tcp4", "203.0.113.10:7574", waittest.Timeout)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			in, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if _, err := io.WriteString(in, "hello\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "hello\n" {
				t.Errorf("over the forwarded port: %q, %v", line, err)
			}
		})
	}
}

func TestCutDropsEverythingUntilRestored(t *testing.T) {
	for name, link := range map[string]*Link{"veth": nil, "emulated": {}} {
		t.Run(name, func(t *testing.T) {
			l := Start(t, house(&NAT{Type: "fullcone"}, link))
			s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
			m := pass(t, a, addr(s), s)
			for i, cut := range []bool{false, true, false, true, false} { // the first round also fills the ARP caches
				if err := l.Cut("gw", cut); err != nil {
					t.Fatal(err)
				}
				if !cut {
					pass(t, s, m, a)
					pass(t, a, addr(s), s)
				} else if !dropped(t, s, m, a) || !dropped(t, a, addr(s), s) {
					t.Errorf("step %d: a packet passes the cut link", i)
				}
			}
		})
	}
}

func TestLinkDelays(t *testing.T) {
	const delay = 20 * time.Millisecond
	l := Start(t, house(&NAT{Type: "fullcone"}, &Link{Impair: Impair{Delay: delay}}))
	s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
	m := pass(t, a, addr(s), s)
	// The link itself runs at real-time priority, the sockets of this test do not: on a
	// busy machine only some packets are read in time.
	waittest.Until(t, "a packet that the link delays by 20 to 25 ms", func() bool {
		begin := time.Now()
		pass(t, s, m, a)
		took := time.Since(begin)
		if took < delay {
			t.Fatalf("one-way delay %v, want %v", took, delay)
		}
		return took <= delay+5*time.Millisecond
	})
}

func TestLinkLoses(t *testing.T) {
	l := Start(t, house(&NAT{Type: "fullcone"}, &Link{}))
	s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
	m := pass(t, a, addr(s), s)
	if err := l.SetLink("gw", Link{Down: &Impair{Loss: 0.25}}); err != nil {
		t.Fatal(err)
	}
	const sent, group = 1000, 50 // small groups do not overflow a socket's buffer
	_, start := l.LinkStats("gw")
	got, buf := uint64(0), make([]byte, 10)
	for groups := range sent / group {
		for range group {
			if _, err := s.WriteToUDPAddrPort([]byte("x"), m); err != nil {
				t.Fatal(err)
			}
		}
		// The link takes packets later than the socket sends them. Every packet that it
		// has delivered arrives.
		waittest.Until(t, "all packets that the link delivers", func() bool {
			_, down := l.LinkStats("gw")
			for ; got < down.Out-start.Out; got++ {
				if err := a.SetReadDeadline(time.Now().Add(waittest.Timeout)); err != nil {
					t.Fatal(err)
				}
				if _, err := a.Read(buf); err != nil {
					t.Fatalf("%d of %d delivered packets arrive: %v", got, down.Out-start.Out, err)
				}
			}
			return down.In-start.In == uint64(groups+1)*group && down.Out+down.Lost == down.In
		})
	}
	_, down := l.LinkStats("gw")
	if n := down.In - start.In; n != sent || got < 700 || got > 800 {
		t.Errorf("%d of %d packets arrive, want about 750 of %d", got, n, sent)
	}
	if lost := down.Lost - start.Lost; lost < 200 || lost > 300 {
		t.Errorf("counters: %+v", down)
	}
}

func TestImpossibleTopologiesAreRefused(t *testing.T) {
	root := Node{Name: "x", LAN: []string{"10.0.0.1/24"}}
	under := func(n *NAT) Node {
		return Node{Name: "y", Via: "x", Addr: []string{"10.0.0.2/24"}, LAN: []string{"10.1.0.1/24"}, NAT: n}
	}
	for name, bad := range map[string]*Topology{
		"prefix":      {Prefix: "eth"},
		"node name":   {Nodes: []Node{{Name: "a-b"}}},
		"unknown via": {Nodes: []Node{root, {Name: "y", Via: "z"}}},
		"twice":       {Nodes: []Node{root, root}},
		"no address":  {Nodes: []Node{root, {Name: "y", Via: "x"}}},
		"NAT type":    {Nodes: []Node{root, under(&NAT{Type: "?"})}},
		"NAT forward": {Nodes: []Node{root, under(&NAT{
			Type:    "fullcone",
			Forward: []Forward{{Proto: "sctp", Port: 1, To: "10.1.0.2:1"}},
		})}},
		"NAT no words": {Nodes: []Node{root, under(&NAT{})}},
	} {
		if err := bad.check(); err == nil {
			t.Errorf("%s: %+v passes", name, bad)
		}
	}
}
