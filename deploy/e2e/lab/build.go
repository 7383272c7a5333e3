package lab

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (t *Topology) node(name string) *Node {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			return &t.Nodes[i]
		}
	}
	return nil
}

// portOf returns the name of a node's port on the bridge of its parent.
func portOf(node string) string { return "v-" + node }

// script collects ip commands for one namespace, which ip runs as a batch.
type script struct{ strings.Builder }

func (s *script) add(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// build creates one node and connects it to its parent.
func (l *Lab) build(n *Node) error {
	ns, router := l.Namespace(n.Name), len(n.LAN) > 0
	if err := run("", "ip", "netns", "add", ns); err != nil {
		return err
	}
	if err := inNamespace(ns, func() error { return sysctls(router) }); err != nil {
		return err
	}
	var s script
	s.add("link set lo up")
	if router {
		s.add("link add lan0 type bridge mcast_snooping 0")
		for _, a := range n.LAN {
			s.add("addr add %s dev lan0", a)
		}
		s.add("link set lan0 up")
	}
	if n.Via != "" {
		if err := l.connect(n, &s); err != nil {
			return err
		}
	}
	if err := run(s.String(), "ip", "-n", ns, "-batch", "-"); err != nil {
		return err
	}
	if n.Via == "" {
		return nil
	}
	if err := l.routesTo(n); err != nil {
		return err
	}
	if n.NAT != nil && n.NAT.Engine == "linux" {
		if err := l.conntrackTimeouts(n); err != nil {
			return err
		}
	}
	if rules := firewallRules(n) + natRules(n); rules != "" {
		return run("table inet lab {\n"+rules+"}\n", "ip", "netns", "exec", ns, "nft", "-f", "-")
	}
	return nil
}

// connect connects n to its parent: link, addresses, routes, NAT.
func (l *Lab) connect(n *Node, s *script) error {
	if err := l.uplink(n); err != nil {
		return err
	}
	translated := n.NAT != nil && n.NAT.Engine == "go"
	for _, a := range n.Addr {
		if p := netip.MustParsePrefix(a); !translated || p.Addr() != n.public() {
			s.add("addr add %s dev up0", a)
		}
	}
	s.add("link set up0 up")
	for _, six := range []bool{false, true} {
		if gw, ok := gateway(l.topo.node(n.Via), n, six); ok {
			s.add("route add default via %s dev up0 onlink", gw)
		}
	}
	if translated {
		return l.translate(n, s)
	}
	return nil
}

// uplink creates up0 and its port on the parent's bridge.
func (l *Lab) uplink(n *Node) error {
	child, parent, port := l.Namespace(n.Name), l.Namespace(n.Via), portOf(n.Name)
	if n.Link == nil {
		if err := run("", "ip", "-n", child, "link", "add", "up0", "type", "veth", "peer", "name", port, "netns",
			parent); err != nil {
			return err
		}
	} else {
		c, err := openTun(child, "up0", unix.IFF_TAP)
		if err != nil {
			return err
		}
		p, err := openTun(parent, port, unix.IFF_TAP)
		if err != nil {
			return errors.Join(err, unix.Close(c))
		}
		w, err := newWire(c, p, n.Link, l.seed(n))
		if err != nil {
			return err
		}
		l.wires[n.Name] = w
		mtu := n.Link.MTU
		if mtu == 0 {
			mtu = 1500
		}
		for _, d := range [][2]string{{child, "up0"}, {parent, port}} {
			if err := run("", "ip", "-n", d[0], "link", "set", d[1], "mtu", strconv.Itoa(mtu), "txqueuelen",
				"10000"); err != nil {
				return err
			}
		}
	}
	return run("", "ip", "-n", parent, "link", "set", port, "master", "lan0", "up")
}

// translate routes all packets from the LAN and all packets for the public address
// through a TUN device to a natBox. The router does not own the public address, or the
// kernel would deliver packets for it locally. Therefore it answers ARP by proxy and
// does not answer pings.
func (l *Lab) translate(n *Node, s *script) error {
	fd, err := openTun(l.Namespace(n.Name), "nat0", unix.IFF_TUN)
	if err != nil {
		return err
	}
	if err := l.Do(n.Name, func() error {
		return errors.Join(
			sysctl("ipv6/conf/nat0/disable_ipv6", "1"),
			// Without this, proxied ARP answers come up to 0.8 s late.
			sysctl("ipv4/neigh/up0/proxy_delay", "0"),
		)
	}); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	box, err := newNAT(fd, n, l.seed(n))
	if err != nil {
		return err
	}
	l.nats[n.Name] = box
	s.add("link set nat0 mtu 65535 txqueuelen 10000 up") // reassembled datagrams must fit
	s.add("route add %s/32 dev nat0", n.public())
	s.add("neigh add proxy %s dev up0", n.public())
	s.add("route add default dev nat0 table 100")
	s.add("rule add iif lan0 lookup 100")
	return nil
}

// routesTo adds routes to n's LAN to its ancestors, for IPv4 up to the first NAT.
func (l *Lab) routesTo(n *Node) error {
	for _, a := range n.LAN {
		p := netip.MustParsePrefix(a)
		for c := n; c.Via != "" && (p.Addr().Is6() || c.NAT == nil); c = l.topo.node(c.Via) {
			via, ok := c.address(p.Addr().Is6())
			if !ok {
				continue
			}
			if err := run("", "ip", "-n", l.Namespace(c.Via), "route", "add", p.Masked().String(), "via",
				via.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// address returns the node's first uplink address of one family.
func (n *Node) address(six bool) (netip.Addr, bool) {
	for _, a := range n.Addr {
		if h := netip.MustParsePrefix(a).Addr(); h.Is6() == six {
			return h, true
		}
	}
	return netip.Addr{}, false
}

func (l *Lab) conntrackTimeouts(n *Node) error {
	return l.Do(n.Name, func() error {
		first := min(30*time.Second, n.NAT.Timeout)
		return errors.Join(
			sysctl("netfilter/nf_conntrack_udp_timeout", strconv.Itoa(int(first.Seconds()))),
			sysctl("netfilter/nf_conntrack_udp_timeout_stream", strconv.Itoa(int(n.NAT.Timeout.Seconds()))),
		)
	})
}

func (l *Lab) seed(n *Node) uint64 {
	h := fnv.New64a()
	h.Write([]byte(n.Name))
	return h.Sum64() ^ l.topo.Seed
}

// gateway returns the parent's LAN address in the network of n's address.
func gateway(parent, n *Node, six bool) (netip.Addr, bool) {
	for _, a := range n.Addr {
		h := netip.MustParsePrefix(a)
		for _, g := range parent.LAN {
			if p := netip.MustParsePrefix(g); h.Addr().Is6() == six && p.Contains(h.Addr()) {
				return p.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// sysctl sets a value below /proc/sys/net. A machine without IPv6 has no ipv6
// settings; these are skipped.
func sysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	if strings.HasPrefix(name, "ipv6/") && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sysctls resets settings that would falsify a lab: values inherited from the machine,
// duplicate address detection, redirects.
func sysctls(router bool) error {
	set := map[string]string{
		"ipv4/icmp_ratelimit": "0",
	}
	for _, which := range []string{"all", "default"} {
		for name, value := range map[string]string{
			"ipv4/conf/*/rp_filter": "0", "ipv4/conf/*/send_redirects": "0", "ipv4/conf/*/accept_redirects": "0",
			"ipv6/conf/*/accept_dad": "0", "ipv6/conf/*/accept_ra": "0", "ipv6/conf/*/accept_redirects": "0",
		} {
			set[strings.Replace(name, "*", which, 1)] = value
		}
		if router {
			set["ipv6/conf/"+which+"/forwarding"] = "1"
		}
	}
	if router {
		set["ipv4/ip_forward"] = "1"
	}
	for name, value := range set {
		if err := sysctl(name, value); err != nil {
			return err
		}
	}
	// Netfilter for bridged packets exists only if its module is loaded.
	for _, name := range []string{"iptables", "ip6tables", "arptables"} {
		if err := sysctl("bridge/bridge-nf-call-"+name, "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
