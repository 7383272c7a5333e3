package policy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
)

// Answers to one source before it has authenticated: enough for an agent that starts, and too few for a reflection
// attack on a forged source.
const (
	AnswerBurst      = 10
	AnswersPerSecond = 10
	maxSources       = 1 << 16
)

// AnswerLimit bounds the answers to each source, an IPv4 address or an IPv6 /64, that has not authenticated.
type AnswerLimit struct {
	now      func() time.Time
	exempt   func(netip.Addr) bool
	sources  *limits.Limiter[netip.Prefix]
	withheld atomic.Uint64
}

// NewAnswerLimit returns a limit that does not apply to exempt addresses.
func NewAnswerLimit(now func() time.Time, exempt func(netip.Addr) bool) *AnswerLimit {
	limit := limits.Limit{PerSecond: AnswersPerSecond, Burst: AnswerBurst}
	return &AnswerLimit{now: now, exempt: exempt, sources: limits.NewLimiter[netip.Prefix](limit, maxSources)}
}

// Take reports whether one more answer may go to ip.
func (l *AnswerLimit) Take(ip netip.Addr) bool {
	if l.exempt(ip) {
		return true
	}
	if _, ok := l.sources.Take(limits.Prefix(ip), l.now()); ok {
		return true
	}
	l.withheld.Add(1)
	return false
}

// Withheld returns the number of answers that Take has ever refused.
func (l *AnswerLimit) Withheld() uint64 { return l.withheld.Load() }
