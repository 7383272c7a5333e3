package path_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// signallingDelay is the time that a signalling message between the peers takes in
// the lab: as long as a packet.
const signallingDelay = 30 * time.Millisecond

// home returns a router with a NAT and a host behind it, 15 ms from the internet.
func home(host string, net int, nat string, fw *lab.Firewall, loss float64) []lab.Node {
	link := &lab.Link{Impair: lab.Impair{Delay: 15 * time.Millisecond, Loss: loss}}
	public := fmt.Sprintf("203.0.113.%d/24", net)
	if nat == "none" {
		return []lab.Node{{Name: host, Via: "inet", Addr: []string{public}, Link: link}}
	}
	return []lab.Node{
		{
			Name: "gw" + host, Via: "inet", Addr: []string{public}, Link: link,
			LAN: []string{fmt.Sprintf("192.168.%d.1/24", net)}, NAT: &lab.NAT{Type: nat}, FW: fw,
		},
		{Name: host, Via: "gw" + host, Addr: []string{fmt.Sprintf("192.168.%d.2/24", net)}},
	}
}

// addIPv6 gives every node of two homes an IPv6 address. Their routers pass incoming
// packets of connections that began inside.
func addIPv6(nodes []lab.Node) {
	for i := range nodes {
		n := &nodes[i]
		home := n.Name[len(n.Name)-1:]
		switch n.Name {
		case "inet":
			n.LAN = append(n.LAN, "2001:db8::1/64")
		case "gwa", "gwb":
			n.Addr = append(n.Addr, "2001:db8::"+home+"/64")
			n.LAN = append(n.LAN, "2001:db8:"+home+"::1/64")
		case "a", "b":
			n.Addr = append(n.Addr, "2001:db8:"+home+"::2/64")
		}
	}
}

func TestPathsThroughNATs(t *testing.T) {
	noUDP := &lab.Firewall{Allow: []string{"tcp", "icmp"}}
	for i, c := range []struct {
		name, a, b string
		fwA, fwB   *lab.Firewall
		loss       float64
		late       time.Duration
		times      int
		ipv6       bool
		want       path.Kind
	}{
		{name: "public-public", a: "none", b: "none", want: path.KindHost},
		{name: "restricted-restricted", a: "portrestrict", b: "portrestrict", want: path.KindPunched},
		{name: "linux-linux", a: "linux", b: "linux", want: path.KindPunched},
		{name: "fullcone-symmetric", a: "fullcone", b: "symmetric", want: path.KindPunched},
		{name: "symmetric-symmetric", a: "symmetric", b: "symmetric", want: path.KindRelayUDP},
		{name: "restricted-symmetric", a: "portrestrict", b: "symmetric", want: path.KindRelayUDP},
		{name: "noudp-restricted", a: "portrestrict", fwA: noUDP, b: "portrestrict", want: path.KindRelayTCP},
		{name: "restricted-noudp", a: "portrestrict", b: "portrestrict", fwB: noUDP, want: path.KindRelayTCP},
		{name: "noudp-noudp", a: "portrestrict", fwA: noUDP, b: "portrestrict", fwB: noUDP, want: path.KindRelayTCP},
		{name: "symmetric-symmetric-ipv6", a: "symmetric", b: "symmetric", ipv6: true, want: path.KindHost},
		{name: "late", a: "portrestrict", b: "portrestrict", late: 3 * time.Second, want: path.KindPunched},
		{name: "loss", a: "portrestrict", b: "portrestrict", loss: 0.1, times: 5, want: path.KindPunched},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting
			nodes := []lab.Node{
				{Name: "inet", LAN: []string{"198.51.100.1/24", "203.0.113.1/24"}},
				{Name: "srv", Via: "inet", Addr: []string{serverIP + "/24"}},
			}
			nodes = append(nodes, home("a", 10, c.a, c.fwA, c.loss)...)
			nodes = append(nodes, home("b", 20, c.b, c.fwB, c.loss)...)
			if c.ipv6 {
				addIPv6(nodes)
			}
			l := lab.Start(t, &lab.Topology{Prefix: fmt.Sprintf("ef-path-%d-", i), Nodes: nodes})
			startServer(t, l)
			for range max(c.times, 1) {
				connect(t, l, c.want, c.late)
			}
		})
	}
}

// connect runs two peers and checks the kind of their path.
func connect(t *testing.T, l *lab.Lab, want path.Kind, late time.Duration) {
	t.Helper()
	a, b := startPeer(t, l, "a", true), startPeer(t, l, "b", false)
	var both sync.WaitGroup
	both.Go(func() { a.listen(b, late) })
	both.Go(func() { b.listen(a, late) })
	both.Wait()
	for _, p := range []*program{a, b} {
		p.end()
		o := p.outcome
		took := o.Took.Round(time.Millisecond)
		t.Logf("%s: %s in %v, %s, relayed %v %s", p.name, o.Kind, took, o.NAT.Mapping, o.Relayed, o.Why)
		switch {
		case o.Err != "":
			t.Errorf("%s: %s", p.name, o.Err)
		case o.Kind != want:
			t.Errorf("%s: a path of kind %q, want %q", p.name, o.Kind, want)
		}
	}
}

// program is a process of this test binary that plays a role in a node.
type program struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	writing sync.Mutex
	outcome outcome
}

func start(t *testing.T, l *lab.Lab, node string, r role) *program {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{name: node, cmd: l.Command(node, os.Args[0])}
	p.cmd.Env = append(p.cmd.Environ(), roleVariable+"="+string(text))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

// end ends the program and waits for it.
func (p *program) end() {
	_ = p.in.Close()
	for p.out.Scan() { // until its end, because Wait closes the pipe
	}
	_ = p.cmd.Wait()
}

func startServer(t *testing.T, l *lab.Lab) {
	t.Helper()
	if s := start(t, l, "srv", role{Server: true}); !s.out.Scan() || s.out.Text() != "ready" {
		t.Fatalf("the server did not start: %q", s.out.Text())
	}
}

func startPeer(t *testing.T, l *lab.Lab, node string, controlling bool) *program {
	t.Helper()
	at := fmt.Sprintf("%s:%d", serverIP, serverPort)
	return start(t, l, node, role{Controlling: controlling, Servers: []path.Server{
		{URL: "stun:" + at},
		{URL: "turn:" + at + "?transport=udp", Username: relayUser, Password: relayPassword},
		{URL: "turn:" + at + "?transport=tcp", Username: relayUser, Password: relayPassword},
	}})
}

// listen passes the lines of a peer to the other one until the peer reports its
// outcome. Every line is delayed by signallingDelay, and candidates by late more.
func (p *program) listen(other *program, late time.Duration) {
	var passing sync.WaitGroup
	defer passing.Wait()
	for p.out.Scan() {
		text := p.out.Text()
		var l line
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&l); err != nil {
			p.outcome.Err = err.Error()
			return
		}
		if l.Done != nil {
			p.outcome = *l.Done
			return
		}
		delay := signallingDelay
		switch {
		case l.Candidate != nil:
			delay += late
		case late > 0: // the public address must not be known earlier either
			l.Description.NAT.Public = netip.AddrPort{}
			raw, err := json.Marshal(l)
			if err != nil {
				p.outcome.Err = err.Error()
				return
			}
			text = string(raw)
		}
		passing.Add(1)
		time.AfterFunc(delay, func() {
			defer passing.Done()
			other.writing.Lock()
			defer other.writing.Unlock()
			_, _ = io.WriteString(other.in, text+"\n")
		})
	}
	p.outcome.Err = "the program ended without an outcome"
}
