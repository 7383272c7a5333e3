package lab

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers of IPv4.
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// ipPacket is a view of an IPv4 packet. For an ICMP echo, both ports are its
// identifier.
type ipPacket struct {
	b        []byte
	hl       int
	proto    byte
	src, dst netip.AddrPort
	inner    *ipPacket // the packet an ICMP error quotes
}

// parse returns a view of b. It returns false for packets that the NAT does not
// handle: other protocols, fragments, other ICMP messages.
func parse(b []byte) (*ipPacket, bool) {
	p, ok := parseHeader(b)
	if !ok || p.proto != protoICMP || len(b) < p.hl+8 {
		return p, ok
	}
	switch t := b[p.hl]; t {
	case 0, 8:
		return p, true
	case 3, 11, 12:
		p.inner, ok = parseHeader(b[p.hl+8:])
		return p, ok
	}
	return p, false
}

func parseHeader(b []byte) (*ipPacket, bool) {
	if len(b) < 28 || b[0]>>4 != 4 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, false // not IPv4, or a fragment
	}
	p := &ipPacket{b: b, hl: int(b[0]&15) * 4, proto: b[9]}
	if p.hl < 20 || len(b) < p.hl+8 {
		return nil, false
	}
	t := b[p.hl:]
	sp, dp := binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	switch p.proto {
	case protoICMP:
		sp = binary.BigEndian.Uint16(t[4:])
		dp = sp
	case protoTCP, protoUDP:
	default:
		return nil, false
	}
	p.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), sp)
	p.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), dp)
	return p, true
}

func (p *ipPacket) setSrc(a netip.AddrPort) { p.src = a; p.set(12, 0, a) }
func (p *ipPacket) setDst(a netip.AddrPort) { p.dst = a; p.set(16, 2, a) }

// set writes an address and port and updates the checksums (RFC 1624).
func (p *ipPacket) set(addrAt, portAt int, a netip.AddrPort) {
	addr, t := a.Addr().As4(), p.b[p.hl:]
	old := append([]byte(nil), p.b[addrAt:addrAt+4]...)
	copy(p.b[addrAt:], addr[:])
	patch(p.b[10:], old, addr[:])
	at := -1 // offset of the transport checksum
	switch p.proto {
	case protoICMP:
		if p.inner != nil {
			return // the caller recomputes it
		}
		portAt, at, old = 4, 2, nil
	case protoTCP:
		at = 16
	case protoUDP:
		if at = 6; t[6] == 0 && t[7] == 0 {
			at = -1
		}
	}
	port := binary.BigEndian.AppendUint16(nil, a.Port())
	old = append(old, t[portAt:portAt+2]...)
	copy(t[portAt:], port)
	if at < 0 || len(t) < at+2 {
		return
	}
	patch(t[at:], old, append(addr[:len(old)-2], port...))
	if p.proto == protoUDP && t[6] == 0 && t[7] == 0 {
		t[6], t[7] = 255, 255
	}
}

// sumICMP computes the checksum of an ICMP message.
func (p *ipPacket) sumICMP() {
	icmp := p.b[p.hl:]
	binary.BigEndian.PutUint16(icmp[2:], 0)
	binary.BigEndian.PutUint16(icmp[2:], ^fold(sum(0, icmp)))
}

// patch updates the checksum at c after bytes changed from before to after.
func patch(c, before, after []byte) {
	s := uint32(^binary.BigEndian.Uint16(c))
	for i := 0; i < len(before); i += 2 {
		s += uint32(^binary.BigEndian.Uint16(before[i:])) + uint32(binary.BigEndian.Uint16(after[i:]))
	}
	binary.BigEndian.PutUint16(c, ^fold(s))
}

// sum adds big-endian 16-bit words to s (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// fold returns the checksum of a sum.
func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
