package relay

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
)

// Range holds the relayed addresses of one relay.
type Range struct {
	IP          netip.Addr // IPv4
	First, Last uint16     // UDP ports
}

// String returns "IP:FIRST-LAST".
func (r Range) String() string { return fmt.Sprintf("%s:%d-%d", r.IP, r.First, r.Last) }

// ParseRange parses a range as String writes it.
func ParseRange(text string) (Range, error) {
	bad := fmt.Errorf("relay's addresses %.64q: want ip:first-last", text)
	host, ports, ok := strings.Cut(text, ":")
	first, last, dash := strings.Cut(ports, "-")
	if !ok || !dash {
		return Range{}, bad
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() {
		return Range{}, bad
	}
	low, err := strconv.ParseUint(first, 10, 16)
	if err != nil || low == 0 {
		return Range{}, bad
	}
	high, err := strconv.ParseUint(last, 10, 16)
	if err != nil || high < low {
		return Range{}, bad
	}
	return Range{IP: ip, First: uint16(low), Last: uint16(high)}, nil
}

func (r Range) contains(a netip.AddrPort) bool {
	return a.Addr() == r.IP && a.Port() >= r.First && a.Port() <= r.Last
}

// hasRelay reports whether ip is the address of a relay of this cluster.
func (t *allocationTable) hasRelay(ip netip.Addr) bool {
	if ip == t.ports.IP {
		return true
	}
	for _, r := range t.others() {
		if r.IP == ip {
			return true
		}
	}
	return false
}

// relays reports whether a may be the relayed address of an allocation of this cluster. The table knows its own
// allocations. Of a neighbour, which may be on the same machine, it knows only the range.
func (t *allocationTable) relays(a netip.AddrPort) bool {
	if t.ports.contains(a) && t.taken.has(a.Port()) {
		return true
	}
	for _, r := range t.others() {
		if r.contains(a) {
			return true
		}
	}
	return false
}

// others returns the relays of other instances.
func (t *allocationTable) others() []Range {
	if list := t.neighbours.Load(); list != nil {
		return *list
	}
	return nil
}

// portSet is a set of ports that several goroutines may use at once.
type portSet [1 << 16 / 64]atomic.Uint64

func (p *portSet) set(port uint16)      { p[port/64].Or(1 << (port % 64)) }
func (p *portSet) unset(port uint16)    { p[port/64].And(^(1 << (port % 64))) }
func (p *portSet) has(port uint16) bool { return p[port/64].Load()&(1<<(port%64)) != 0 }
