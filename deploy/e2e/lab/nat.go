package lab

import (
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tcpTimeout  = 2 * time.Hour
	icmpTimeout = time.Minute
)

// NATStats counts packets and, in Mappings, live UDP mappings.
type NATStats struct{ Out, In, Filtered, Unmapped, Hairpin, Unhandled, Mappings uint64 }

type natKey struct {
	proto byte
	in    netip.AddrPort
	to    netip.AddrPort // without the parts on which the mapping does not depend
}

type natPort struct {
	proto byte
	port  uint16
}

type mapping struct {
	key  natKey
	port uint16
	last int64
	open map[netip.AddrPort]int64 // remotes that the host sent to, cut to what the filter compares, and when
}

// natBox is a NAPT with one public address. Its router sends LAN and public traffic
// to a TUN device, from which natBox reads packets. It writes them back translated.
type natBox struct {
	// Immutable after construction.
	cfg    NAT
	pub    netip.Addr
	inside []netip.Prefix
	open   map[natPort]netip.AddrPort // forwarded ports
	fd     int

	// Owned by the loop's thread.
	rng     *rand.Rand
	byKey   map[natKey]*mapping
	byPort  map[natPort]*mapping
	nextSeq uint16
	shift   uint16 // of preserved ports; changes with each flush
	swept   int64
	buf     []byte

	// Used by all goroutines.
	flush atomic.Bool
	n     struct{ out, in, filtered, unmapped, hairpin, unhandled, mappings atomic.Uint64 }
	loop
}

func newNAT(fd int, node *Node, seed uint64) (*natBox, error) {
	n := &natBox{
		cfg: *node.NAT, pub: node.public(), open: map[natPort]netip.AddrPort{}, fd: fd,
		rng: rand.New(rand.NewPCG(seed, 7)), buf: make([]byte, 65536),
		byKey: map[natKey]*mapping{}, byPort: map[natPort]*mapping{},
	}
	for _, s := range node.LAN {
		n.inside = append(n.inside, netip.MustParsePrefix(s).Masked())
	}
	for _, f := range n.cfg.Forward {
		n.open[natPort{map[string]byte{"tcp": protoTCP, "udp": protoUDP}[f.Proto], f.Port}] = netip.MustParseAddrPort(
			f.To,
		)
	}
	n.nextSeq = 20000 + uint16(n.rng.IntN(20000))
	return n, n.start([]int{fd}, n.turn)
}

func (n *natBox) stats() NATStats {
	return NATStats{
		Out: n.n.out.Load(), In: n.n.in.Load(), Filtered: n.n.filtered.Load(), Unmapped: n.n.unmapped.Load(),
		Hairpin: n.n.hairpin.Load(), Unhandled: n.n.unhandled.Load(), Mappings: n.n.mappings.Load(),
	}
}

func (n *natBox) turn([]unix.PollFd) (next int64) {
	now := nanos()
	if now-n.swept > int64(time.Second) {
		n.sweep(now)
	}
	for range batch {
		size, err := unix.Read(n.fd, n.buf)
		if err != nil || size <= 0 {
			return now + int64(time.Second)
		}
		if n.flush.Swap(false) {
			clear(n.byKey)
			clear(n.byPort)
			n.shift += 1000
		}
		if n.translate(n.buf[:size], now) {
			if _, err := unix.Write(n.fd, n.buf[:size]); err != nil {
				n.n.unhandled.Add(1)
			}
		}
	}
	return 0
}

func (n *natBox) sweep(now int64) {
	n.swept = now
	udp := uint64(0)
	for _, m := range n.byKey {
		if n.live(m, now) && m.key.proto == protoUDP {
			udp++
		}
	}
	n.n.mappings.Store(udp)
}

func (n *natBox) timeout(proto byte) int64 {
	switch proto {
	case protoTCP:
		return int64(tcpTimeout)
	case protoICMP:
		return int64(icmpTimeout)
	}
	return int64(n.cfg.Timeout)
}

// live reports whether m still exists, and deletes it if it has expired.
func (n *natBox) live(m *mapping, now int64) bool {
	if m == nil || now-m.last <= n.timeout(m.key.proto) {
		return m != nil
	}
	delete(n.byKey, m.key)
	delete(n.byPort, natPort{m.key.proto, m.port})
	return false
}

// translate rewrites p in place and reports whether to forward it.
func (n *natBox) translate(p []byte, now int64) bool {
	ip, ok := parse(p)
	if !ok {
		n.n.unhandled.Add(1)
		return false
	}
	inside := false
	for _, pre := range n.inside {
		inside = inside || pre.Contains(ip.src.Addr())
	}
	switch {
	case ip.inner != nil:
		ok = n.translateError(ip, inside, now)
	case !inside:
		ok = n.inbound(ip, now)
	default:
		hair := ip.dst.Addr() == n.pub
		if hair && n.cfg.NoHairpin {
			return false
		}
		port, found := n.outbound(ip, now)
		if ok = found; ok {
			ip.setSrc(netip.AddrPortFrom(n.pub, port))
			n.n.out.Add(1)
		}
		if ok && hair {
			n.n.hairpin.Add(1)
			ok = n.inbound(ip, now)
		}
	}
	return ok
}

// cut returns a without the parts that behaviour b ignores.
func cut(b string, a netip.AddrPort) netip.AddrPort {
	switch b {
	case "ei":
		return netip.AddrPort{}
	case "ad":
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

func (n *natBox) filterOf(proto byte) string {
	switch proto {
	case protoTCP:
		return "apd"
	case protoICMP:
		return "ad"
	}
	return n.cfg.Filter
}

func (n *natBox) keyOf(proto byte, in, to netip.AddrPort) natKey {
	if proto == protoICMP {
		return natKey{proto, in, netip.AddrPort{}}
	}
	return natKey{proto, in, cut(n.cfg.Map, to)}
}

// outbound returns the public port for a packet from the LAN. It creates a missing
// mapping.
func (n *natBox) outbound(ip *ipPacket, now int64) (port uint16, ok bool) {
	for public, to := range n.open {
		if public.proto == ip.proto && to == ip.src {
			return public.port, true
		}
	}
	k := n.keyOf(ip.proto, ip.src, ip.dst)
	m := n.byKey[k]
	if !n.live(m, now) {
		if port, ok = n.allocate(ip.proto, ip.src.Port()); !ok {
			return 0, false
		}
		m = &mapping{key: k, port: port, open: map[netip.AddrPort]int64{}}
		n.byKey[k], n.byPort[natPort{ip.proto, port}] = m, m
	}
	m.last = now
	m.open[cut(n.filterOf(ip.proto), ip.dst)] = now
	return m.port, true
}

func (n *natBox) allocate(proto byte, want uint16) (uint16, bool) {
	for try := range 4096 {
		port := want + n.shift + uint16(try)
		switch n.cfg.Ports {
		case "random":
			port = 1024 + uint16(n.rng.IntN(65536-1024))
		case "seq":
			port = n.nextSeq
			n.nextSeq++
		}
		if _, open := n.open[natPort{proto, port}]; port >= 1024 && !open && n.byPort[natPort{proto, port}] == nil {
			return port, true
		}
	}
	return 0, false
}

// inbound forwards a packet for the public address to the owner of the mapping if
// the filter permits it.
func (n *natBox) inbound(ip *ipPacket, now int64) bool {
	port := natPort{ip.proto, ip.dst.Port()}
	if to, ok := n.open[port]; ok && ip.dst.Addr() == n.pub {
		ip.setDst(to)
		n.n.in.Add(1)
		return true
	}
	m := n.byPort[port]
	if ip.dst.Addr() != n.pub || !n.live(m, now) {
		n.n.unmapped.Add(1)
		return false
	}
	r := cut(n.filterOf(ip.proto), ip.src)
	if t, ok := m.open[r]; !ok || now-t > n.timeout(ip.proto) {
		n.n.filtered.Add(1)
		return false
	}
	if n.cfg.Inbound || ip.proto == protoTCP {
		m.last, m.open[r] = now, now
	}
	ip.setDst(m.key.in)
	n.n.in.Add(1)
	return true
}

// translateError handles ICMP errors, which quote the packet that caused them.
func (n *natBox) translateError(ip *ipPacket, inside bool, now int64) bool {
	q := ip.inner
	if inside { // the error is about a packet that came in: from q.src to q.dst
		m := n.byKey[n.keyOf(q.proto, q.dst, q.src)]
		if !n.live(m, now) {
			return false
		}
		q.setDst(netip.AddrPortFrom(n.pub, m.port))
		ip.setSrc(netip.AddrPortFrom(n.pub, 0))
	} else {
		m := n.byPort[natPort{q.proto, q.src.Port()}]
		if q.src.Addr() != n.pub || !n.live(m, now) {
			return false
		}
		q.setSrc(m.key.in)
		ip.setDst(netip.AddrPortFrom(m.key.in.Addr(), 0))
	}
	ip.sumICMP()
	return true
}
