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

// pass sends a packet from one socket to another. It returns the source address that
// arrives, or false if nothing arrives in time.
func pass(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn) (netip.AddrPort, bool) {
	t.Helper()
	buf := make([]byte, 100)
	for range 2 {
		msg := fmt.Sprint(time.Now().UnixNano())
		if _, err := from.WriteToUDPAddrPort([]byte(msg), to); err != nil {
			t.Fatal(err)
		}
		if err := at.SetReadDeadline(time.Now().Add(250 * time.Millisecond)); err != nil {
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
			m, ok := pass(t, a, addr(s11), s11)
			if !ok || m.Addr().String() != "203.0.113.10" {
				t.Fatal("no way out:", m, ok)
			}
			got := [2]string{"apd", "apd"}
			if _, ok := pass(t, s12, m, a); ok {
				got[1] = "ad"
			}
			if _, ok := pass(t, s21, m, a); ok {
				got[1] = "ei"
			}
			m2, _ := pass(t, a, addr(s12), s12)
			m3, _ := pass(t, a, addr(s21), s21)
			if m2 == m {
				got[0] = "ad"
			}
			if m2 == m && m3 == m {
				got[0] = "ei"
			}
			if got != want[name] {
				t.Errorf("mapping and filtering are %v, want %v", got, want[name])
			}
		})
	}
}

func TestMappingEndsByTimeoutAndByFlush(t *testing.T) {
	const timeout = 600 * time.Millisecond
	l := Start(t, house(&NAT{Type: "portrestrict", Timeout: timeout}, nil))
	s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
	m, _ := pass(t, a, addr(s), s)
	born := time.Now()
	if _, ok := pass(t, s, m, a); !ok {
		t.Error("no answer passes")
	}
	for { // answers do not refresh the mapping
		if _, ok := pass(t, s, m, a); !ok {
			break
		}
		if time.Since(born) > 10*timeout {
			t.Fatal("the mapping outlives its timeout")
		}
	}
	if age := time.Since(born); age < timeout {
		t.Errorf("the mapping ends after %v, want %v", age, timeout)
	}
	m, _ = pass(t, a, addr(s), s)
	if err := l.FlushNAT("gw"); err != nil {
		t.Fatal(err)
	}
	if _, ok := pass(t, s, m, a); ok {
		t.Error("the mapping survives a flush")
	}
	if m2, ok := pass(t, a, addr(s), s); !ok || m2 == m {
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
			m2, _ := pass(t, a2, addr(s2), s2)
			m1, _ := pass(t, a2, addr(s1), s1)
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
			m, _ := pass(t, a, addr(s), s)
			pass(t, s2, m, a) // too early
			m2, _ := pass(t, a, addr(s2), s2)
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
			if _, ok := pass(t, s, netip.MustParseAddrPort("203.0.113.10:7000"), a); !ok {
				t.Error("a datagram to the forwarded port does not arrive")
			}
			if m, ok := pass(t, a, addr(s), s); !ok || m.Port() != 7000 {
				t.Errorf("the answer comes from %v, want port 7000", m)
			}
			var ln net.Listener
			var c net.Conn
			if err := l.Do("a", func() (err error) {
				ln, err = net.Listen("tcp4",
					"192.168.1.2:7574")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if err := l.Do("srv", func() (err error) {
				c, err = net.DialTimeout("tcp4", "203.0.113.10:7574", 5*time.Second)
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
			m, ok := pass(t, a, addr(s), s)
			if !ok {
				t.Fatal("no way out")
			}
			for i, cut := range []bool{false, true, false, true, false} { // the first round also fills the ARP caches
				if err := l.Cut("gw", cut); err != nil {
					t.Fatal(err)
				}
				if _, ok = pass(t, s, m, a); ok == cut {
					t.Errorf("step %d: inbound passes: %v", i, ok)
				}
				if _, ok = pass(t, a, addr(s), s); ok == cut {
					t.Errorf("step %d: outbound passes: %v", i, ok)
				}
			}
		})
	}
}

func TestLinkDelays(t *testing.T) {
	const delay = 20 * time.Millisecond
	l := Start(t, house(&NAT{Type: "fullcone"}, &Link{Impair: Impair{Delay: delay}}))
	s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
	m, _ := pass(t, a, addr(s), s)
	best := time.Hour
	for range 10 {
		begin := time.Now()
		if _, ok := pass(t, s, m, a); ok {
			best = min(best, time.Since(begin))
		}
	}
	if best < delay || best > delay+5*time.Millisecond {
		t.Errorf("one-way delay %v, want %v", best, delay)
	}
}

func TestLinkLoses(t *testing.T) {
	l := Start(t, house(&NAT{Type: "fullcone"}, &Link{}))
	s, a := sock(t, l, "srv", "198.51.100.10:1000"), sock(t, l, "a", "192.168.1.2:5000")
	m, _ := pass(t, a, addr(s), s)
	if err := l.SetLink("gw", Link{Down: &Impair{Loss: 0.25}}); err != nil {
		t.Fatal(err)
	}
	const sent, group = 1000, 50 // small groups do not overflow a socket's buffer
	got := 0
	for buf := make([]byte, 10); ; {
		_, before := l.LinkStats("gw")
		if before.In >= sent {
			break
		}
		for range group {
			if _, err := s.WriteToUDPAddrPort([]byte("x"), m); err != nil {
				t.Fatal(err)
			}
		}
		for {
			if err := a.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Read(buf); err != nil {
				break
			}
			got++
		}
	}
	if got < 700 || got > 800 {
		t.Errorf("%d of %d arrive, want about 750", got, sent)
	}
	if _, down := l.LinkStats("gw"); down.Lost < 200 || down.Lost > 300 {
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
