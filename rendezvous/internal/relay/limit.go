package relay

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/subscriber"
)

// What one source, an IPv4 address or an IPv6 /64, gets in answers before it
// has authenticated: an agent's start, not a reflection attack.
const (
	answerBurst = 10
	answerRate  = 10.0 // a second
	maxSources  = 1 << 16
)

// limiter counts unauthenticated answers by source.
type limiter struct {
	now      func() time.Time
	trusted  func(netip.Addr) bool // who is not limited
	withheld atomic.Uint64         // answers

	// Guarded by mu.
	mu      sync.Mutex
	sources map[netip.Prefix]allowance
}

type allowance struct {
	left float64
	at   time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, trusted: netip.Addr.IsLoopback, sources: map[netip.Prefix]allowance{}}
}

// take reports whether one more answer may go to ip. Loopback is not limited:
// nobody else can pretend to be there.
func (l *limiter) take(ip netip.Addr) bool {
	if l.trusted(ip) {
		return true
	}
	if l.spend(subscriber.Of(ip)) {
		return true
	}
	l.withheld.Add(1)
	return false
}

func (l *limiter) spend(source netip.Prefix) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.sources[source]
	if !known {
		if len(l.sources) >= maxSources && !l.forget(now) {
			return false // a flood from everywhere: answer nobody new
		}
		a.left = answerBurst
	} else {
		a.left = min(answerBurst, a.left+max(0, now.Sub(a.at).Seconds())*answerRate)
	}
	a.at = now
	ok := a.left >= 1
	if ok {
		a.left--
	}
	l.sources[source] = a
	return ok
}

// forget drops the sources that have their full allowance again, and reports
// whether there were any.
func (l *limiter) forget(now time.Time) bool {
	before := len(l.sources)
	for source, a := range l.sources {
		if now.Sub(a.at).Seconds()*answerRate >= answerBurst {
			delete(l.sources, source)
		}
	}
	return len(l.sources) < before
}

// addrPort returns the address of a UDP or TCP address, unmapped.
func addrPort(addr net.Addr) (netip.AddrPort, bool) {
	var ap netip.AddrPort
	switch a := addr.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), ap.IsValid()
}
