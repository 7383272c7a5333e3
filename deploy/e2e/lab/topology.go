package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Topology is a tree of nodes. Parents come before their children. The first node
// has no Via; it is the root, "the internet".
type Topology struct {
	Prefix string // of namespace names, "ef-" and at most 16 of a-z 0-9 -; default "ef-"
	Seed   uint64 // of every emulated link and NAT
	Nodes  []Node
}

// Node is one network namespace. Its uplink (device up0) connects it to the LAN
// bridge (device lan0) of Via.
type Node struct {
	Name string   // 1 to 12 of a-z 0-9
	Via  string   // an earlier node with a LAN
	Addr []string // prefixes on up0, such as "198.51.100.10/24"; the first IPv4 one is the NAT's public address
	LAN  []string // prefixes on lan0; makes the node a router
	NAT  *NAT
	FW   *Firewall
	Link *Link // emulated uplink; nil is a plain veth
}

// NAT describes how a router translates IPv4. IPv6 is never translated. Behaviours
// are named as in RFC 4787: "ei" endpoint-independent, "ad" address-dependent, "apd"
// address-and-port-dependent.
type NAT struct {
	Type      string        // a preset, see Presets; the fields below override it
	Engine    string        // "go" (default) or "linux" (nftables)
	Map       string        // go: ei|ad|apd. linux: masq|random|fully-random|fullcone
	Filter    string        // go: ei|ad|apd
	Ports     string        // go: preserve|random|seq
	NoHairpin bool          // go: refuse packets from the LAN to the public address
	Timeout   time.Duration // idle time of a UDP mapping, default 120 s (linux: 30 s until a reply)
	Inbound   bool          // go: inbound packets refresh mappings too
	WAN       string        // linux: unsolicited packets to the public address: drop (default) or accept
	Forward   []Forward     // permanent port forwardings
}

// Forward sends packets for a port of the public address to a host of the LAN.
type Forward struct {
	Proto string // "tcp" or "udp"
	Port  uint16
	To    string // an IPv4 address and port of the LAN
}

// Firewall filters what the LAN of a router sends. IPv6 packets from outside pass
// only as part of an established flow, unless Open6 is set.
type Firewall struct {
	Allow  []string // "tcp", "udp", "icmp", "tcp/443", ...; empty allows all
	Reject bool     // answer with an ICMP error instead of silence
	Open6  bool
}

// Link describes an emulated link. Up (from the node) and Down override the
// symmetric settings.
type Link struct {
	Impair
	Up, Down *Impair
	MTU      int // default 1500
}

// Impair describes the impairments of one direction of a link.
type Impair struct {
	Delay     time.Duration
	Jitter    time.Duration // uniform in [0,Jitter], order kept
	Loss      float64       // probability 0..1
	Burst     float64       // mean length of a run of losses (Gilbert); up to 1 losses are independent
	Rate      float64       // Mbit/s of IP packets; 0 is unlimited
	Queue     time.Duration // bound of the backlog of the rate, drop-tail; default 50 ms
	Reorder   float64       // probability that a packet is held back ...
	ReorderBy time.Duration // ... this long, while others overtake it; default 5 ms
	Dup       float64       // probability of a second copy
	UDPRate   float64       // Mbit/s of UDP over IPv4, above which its packets are dropped (policed); 0 is unlimited
}

// Presets returns the NATs that NAT.Type names.
func Presets() map[string]NAT {
	return map[string]NAT{
		"fullcone":     {Map: "ei", Filter: "ei", Ports: "preserve"},
		"restricted":   {Map: "ei", Filter: "ad", Ports: "preserve"},
		"portrestrict": {Map: "ei", Filter: "apd", Ports: "preserve"},
		"symmetric":    {Map: "apd", Filter: "apd", Ports: "random"},
		"symmetricseq": {Map: "apd", Filter: "apd", Ports: "seq"},
		"symmetricad":  {Map: "ad", Filter: "ad", Ports: "random"},
		"linux":        {Engine: "linux", Map: "masq"},
		"linuxrandom":  {Engine: "linux", Map: "random"},
		"linuxfully":   {Engine: "linux", Map: "fully-random"},
		"linuxcone":    {Engine: "linux", Map: "fullcone"},
	}
}

const (
	prefixPattern = `ef-[a-z0-9-]{0,16}`
	namePattern   = `[a-z0-9]{1,12}`
)

var (
	nameRE   = regexp.MustCompile(`^` + namePattern + `$`)
	prefixRE = regexp.MustCompile(`^` + prefixPattern + `$`)
)

// copied returns a copy of t with its own nodes and NATs, which check may change.
func (t *Topology) copied() Topology {
	c := *t
	c.Nodes = slices.Clone(t.Nodes)
	for i, n := range c.Nodes {
		if n.NAT != nil {
			nat := *n.NAT
			c.Nodes[i].NAT = &nat
		}
	}
	return c
}

// check sets defaults and returns an error for a topology that cannot be built.
func (t *Topology) check() error {
	if t.Prefix == "" {
		t.Prefix = "ef-"
	}
	if !prefixRE.MatchString(t.Prefix) {
		return fmt.Errorf("prefix %q: want ef- and at most 16 of a-z 0-9 -", t.Prefix)
	}
	seen := map[string]*Node{}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if seen[n.Name] != nil {
			return fmt.Errorf("node %s appears twice", n.Name)
		}
		if up := seen[n.Via]; i > 0 && up == nil {
			return fmt.Errorf("node %s: via %q is not an earlier node", n.Name, n.Via)
		} else if i > 0 && len(up.LAN) == 0 {
			return fmt.Errorf("node %s: %s has no LAN", n.Name, n.Via)
		}
		if err := n.check(i == 0); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		seen[n.Name] = n
	}
	return nil
}

func (n *Node) check(root bool) error {
	switch {
	case !nameRE.MatchString(n.Name):
		return fmt.Errorf("name %q: want 1 to 12 of a-z 0-9", n.Name)
	case !root && len(n.Addr) == 0:
		return fmt.Errorf("no address")
	case n.NAT != nil && len(n.LAN) == 0:
		return fmt.Errorf("a NAT without a LAN")
	case n.NAT != nil && n.public() == netip.Addr{}:
		return fmt.Errorf("a NAT without an IPv4 address")
	}
	for _, a := range slices.Concat(n.Addr, n.LAN) {
		if _, err := netip.ParsePrefix(a); err != nil {
			return err
		}
	}
	if n.NAT != nil {
		if err := n.NAT.check(); err != nil {
			return fmt.Errorf("NAT: %w", err)
		}
	}
	return nil
}

func (n *NAT) check() error {
	if n.Type != "" {
		p, ok := Presets()[n.Type]
		if !ok {
			return fmt.Errorf("unknown type %q", n.Type)
		}
		for dst, v := range map[*string]string{
			&n.Engine: p.Engine, &n.Map: p.Map, &n.Filter: p.Filter,
			&n.Ports: p.Ports,
		} {
			if *dst == "" {
				*dst = v
			}
		}
	}
	if n.Engine == "" {
		n.Engine = "go"
	}
	if n.Timeout == 0 {
		n.Timeout = 2 * time.Minute
	}
	for _, f := range n.Forward {
		to, err := netip.ParseAddrPort(f.To)
		if err != nil || !to.Addr().Is4() || f.Port == 0 || f.Proto != "tcp" && f.Proto != "udp" {
			return fmt.Errorf("forward %+v: want tcp or udp, a port, and an IPv4 address and port", f)
		}
	}
	if n.Engine == "linux" {
		return oneOf(n.Map, "masq random fully-random fullcone")
	}
	for _, c := range [][2]string{
		{n.Engine, "go linux"},
		{n.Map, "ei ad apd"},
		{n.Filter, "ei ad apd"},
		{n.Ports, "preserve random seq"},
	} {
		if err := oneOf(c[0], c[1]); err != nil {
			return err
		}
	}
	return nil
}

func oneOf(v, list string) error {
	if !slices.Contains(strings.Fields(list), v) {
		return fmt.Errorf("%q: want one of: %s", v, list)
	}
	return nil
}

// public returns the node's first IPv4 uplink address, or the zero Addr.
func (n *Node) public() netip.Addr {
	for _, a := range n.Addr {
		if p, err := netip.ParsePrefix(a); err == nil && p.Addr().Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

func (l *Link) directions() (up, down Impair) {
	up, down = l.Impair, l.Impair
	if l.Up != nil {
		up = *l.Up
	}
	if l.Down != nil {
		down = *l.Down
	}
	return up, down
}
