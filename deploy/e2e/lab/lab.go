// Package lab builds small internets from network namespaces for tests: routers,
// servers, NATs and hosts, connected by kernel links (veth) or emulated links
// (delay, jitter, loss, rate, reordering). The namespaces have no link to the
// machine's own network, so no packet leaves them.
//
// It needs Linux, root, ip and nft (packages iproute2 and nftables) and
// /dev/net/tun. Without them [Start] skips the test and gives the reason.
//
//	l := lab.Start(t, &lab.Topology{Prefix: "ef-mytest-", Nodes: []lab.Node{
//		{Name: "inet", LAN: []string{"198.51.100.1/24", "203.0.113.1/24"}},
//		{Name: "srv", Via: "inet", Addr: []string{"198.51.100.10/24"}},
//		{Name: "gwa", Via: "inet", Addr: []string{"203.0.113.10/24"}, LAN: []string{"192.168.1.1/24"},
//			NAT: &lab.NAT{Type: "portrestrict"}, FW: &lab.Firewall{Allow: []string{"tcp"}}},
//		{Name: "a", Via: "gwa", Addr: []string{"192.168.1.2/24"}},
//	}})
//	cmd := l.Command("a", "program", "-flag")     // a process in a node
//	err := l.Do("srv", func() (err error) { // a socket in a node, until it is closed
//		ln, err = net.Listen("tcp4", ":443")
//		return err
//	})
//	err = l.Cut("gwa", true)
//
// A node with a LAN is a router with a bridge lan0, to which its children are
// connected. Two hosts of one LAN receive each other's broadcasts. A NAT behind a
// NAT is a CGNAT. IPv6 addresses are routed, behind a stateful firewall.
//
// An emulated link is a TAP device in each namespace and one thread that moves
// frames between them. A NAT of the "go" engine is a TUN device to which its router
// sends all LAN traffic. Both run in the process of the test at real-time priority,
// so that a busy machine does not look like a bad link.
package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Lab is a running topology.
type Lab struct {
	topo  Topology
	wires map[string]*wire
	nats  map[string]*natBox
	lock  net.Listener // an abstract socket, which disappears with its process
	once  sync.Once
	err   error
}

// Usable returns the reason why this machine cannot run a lab, or nil.
func Usable() error {
	if os.Geteuid() != 0 {
		return errors.New("network laboratory: needs root for network namespaces; run as root")
	}
	for tool, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("network laboratory: no %s; apt-get install %s", tool, pkg)
		}
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network laboratory: /dev/net/tun: %w; load the module tun", err)
	}
	return unix.Close(fd)
}

// Start builds t for a test and removes it afterwards. It skips the test if this
// machine cannot run a lab. Packages whose tests may run at the same time need
// different prefixes.
func Start(tb testing.TB, t *Topology) *Lab {
	tb.Helper()
	if err := Usable(); err != nil {
		tb.Skip(err)
	}
	l, err := Up(t)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

// Up builds t. It first removes what an earlier lab with the same prefix left
// behind. The emulated links and NATs run in this process until Close.
func Up(t *Topology) (_ *Lab, err error) {
	if err := Usable(); err != nil {
		return nil, err
	}
	l := &Lab{topo: t.copied(), wires: map[string]*wire{}, nats: map[string]*natBox{}}
	if err := l.topo.check(); err != nil {
		return nil, fmt.Errorf("network laboratory: %w", err)
	}
	if l.lock, err = net.Listen("unix", "@easyfind-lab/"+l.topo.Prefix); err != nil {
		return nil, fmt.Errorf("network laboratory: prefix %s belongs to one that is up: %w", l.topo.Prefix, err)
	}
	if err := Clean(l.topo.Prefix); err != nil {
		return nil, errors.Join(err, l.lock.Close())
	}
	for i := range l.topo.Nodes {
		if err := l.build(&l.topo.Nodes[i]); err != nil {
			err = fmt.Errorf("network laboratory: node %s: %w", l.topo.Nodes[i].Name, err)
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// Close removes the lab and kills the processes that still run in its nodes.
func (l *Lab) Close() error {
	l.once.Do(func() {
		for _, w := range l.wires {
			w.close()
		}
		for _, n := range l.nats {
			n.close()
		}
		l.err = errors.Join(Clean(l.topo.Prefix), l.lock.Close())
	})
	return l.err
}

// Clean removes the namespaces of a prefix and kills the processes in them. It
// is no error if nothing matches.
func Clean(prefix string) error {
	if !prefixRE.MatchString(prefix) {
		return fmt.Errorf("network laboratory: bad prefix %q", prefix)
	}
	names, err := filepath.Glob(namespaces + prefix + "*")
	if err != nil {
		return err
	}
	mine := regexp.MustCompile(`^` + prefix + namePattern + `$`)
	var errs []error
	for _, f := range names {
		ns := filepath.Base(f)
		if !mine.MatchString(ns) {
			continue // belongs to a longer prefix that starts with this one
		}
		pids, err := exec.Command("ip", "netns", "pids", ns).Output()
		errs = append(errs, err)
		for _, s := range strings.Fields(string(pids)) {
			if pid, err := strconv.Atoi(s); err == nil && pid > 1 && pid != os.Getpid() {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
					errs = append(errs, fmt.Errorf("kill %d in %s: %w", pid, ns, err))
				}
			}
		}
		errs = append(errs, run("", "ip", "netns", "del", ns))
	}
	return errors.Join(errs...)
}

// Namespace returns the name of a node's namespace in ip netns.
func (l *Lab) Namespace(node string) string { return l.topo.Prefix + node }

// Command returns a command that runs in a node.
func (l *Lab) Command(node, name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.Namespace(node), name}, args...)...)
}

// Do calls f on a thread in the node's namespace. Sockets that f itself opens stay
// in the node. Goroutines that f starts are not in it.
func (l *Lab) Do(node string, f func() error) error { return inNamespace(l.Namespace(node), f) }

// SetLink changes a running emulated uplink.
func (l *Lab) SetLink(node string, link Link) error {
	w := l.wires[node]
	if w == nil {
		return fmt.Errorf("network laboratory: %s has no emulated link", node)
	}
	w.set(link.directions())
	return nil
}

func cutTable(node string) string { return "cut-" + node }

// Cut drops all packets of a node's uplink in both directions, without a sign to
// either end, or restores the uplink. Repeating either has no effect.
func (l *Lab) Cut(node string, cut bool) error {
	n := l.topo.node(node)
	if n == nil || n.Via == "" {
		return fmt.Errorf("network laboratory: %s has no uplink", node)
	}
	// Both ends drop arriving packets. Carrier, addresses and routes stay, as on a
	// radio link without reception.
	for ns, device := range map[string]string{l.Namespace(n.Name): "up0", l.Namespace(n.Via): portOf(node)} {
		rules := fmt.Sprintf(
			"add table netdev %[1]s\ndelete table netdev %[1]s\n",
			cutTable(node),
		) // also works if there is no table
		if cut {
			rules = fmt.Sprintf(
				"table netdev %s {\nchain in { type filter hook ingress device %q priority 0; policy drop;\n}\n}\n",
				cutTable(node),
				device,
			)
		}
		if err := run(rules, "ip", "netns", "exec", ns, "nft", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

// FlushNAT deletes the mappings of a NAT, as a restart does. Ports that Ports
// "preserve" would keep are different afterwards.
func (l *Lab) FlushNAT(node string) error {
	if n := l.nats[node]; n != nil {
		n.flush.Store(true)
		return nil
	}
	return run("", "ip", "netns", "exec", l.Namespace(node), "conntrack", "-F")
}

// LinkStats returns the counters of a node's emulated uplink.
func (l *Lab) LinkStats(node string) (up, down LinkStats) {
	if w := l.wires[node]; w != nil {
		up, down = w.up.stats(), w.down.stats()
	}
	return up, down
}

// NATStats returns the counters of a node's NAT of the "go" engine.
func (l *Lab) NATStats(node string) NATStats {
	if n := l.nats[node]; n != nil {
		return n.stats()
	}
	return NATStats{}
}
