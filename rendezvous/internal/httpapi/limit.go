package httpapi

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limit is a token bucket for each source: an IPv4 address or an IPv6 /64. The
// zero value is the default of what it limits.
type Limit struct {
	PerMinute int
	Burst     int
}

// Limits bound what one source may ask for.
type Limits struct {
	Challenges    Limit // 60 a minute, 60 at once
	Registrations Limit // 30 a minute, 30 at once
	Tries         Limit // of pairings: 6 a minute, 12 at once
	Admin         Limit // failed attempts to be an administrator: 30 a minute, 30 at once
}

// limited is what is limited.
type limited int

const (
	limitChallenges limited = iota
	limitRegistrations
	limitTries
	limitAdmin
)

// limitNames are what the audit log calls them.
var limitNames = map[limited]string{
	limitChallenges: "take a challenge", limitRegistrations: "register", limitTries: "pair", limitAdmin: "administer",
}

// maxSources bounds the sources that are remembered for each limit; the one not
// seen for longest is forgotten. At 65,536 it takes a /48 of one's own to be
// forgotten on purpose.
const maxSources = 65_536

func newLimiters(l Limits) map[limited]*limiter {
	return map[limited]*limiter{
		limitChallenges:    newLimiter(l.Challenges, Limit{60, 60}),
		limitRegistrations: newLimiter(l.Registrations, Limit{30, 30}),
		limitTries:         newLimiter(l.Tries, Limit{6, 12}),
		limitAdmin:         newLimiter(l.Admin, Limit{30, 30}),
	}
}

// limiter holds a bucket for each source, the most recently seen first.
type limiter struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex
	sources map[netip.Prefix]*list.Element // of *bucket; guarded by mu
	recent  *list.List                     // guarded by mu
}

type bucket struct {
	source netip.Prefix
	tokens *rate.Limiter
}

func newLimiter(l, otherwise Limit) *limiter {
	if l == (Limit{}) {
		l = otherwise
	}
	return &limiter{
		limit: rate.Limit(float64(l.PerMinute) / 60), burst: l.Burst,
		sources: map[netip.Prefix]*list.Element{}, recent: list.New(),
	}
}

// take takes a token of a source. Where there is none it returns how long until
// there is.
func (l *limiter) take(source netip.Addr, now time.Time) (wait time.Duration, ok bool) {
	tokens := l.bucket(sourceOf(source))
	r := tokens.ReserveN(now, 1)
	if !r.OK() {
		return time.Minute, false
	}
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// wait returns how long until a source has a token, without taking one.
func (l *limiter) wait(source netip.Addr, now time.Time) time.Duration {
	missing := 1 - l.bucket(sourceOf(source)).TokensAt(now)
	switch {
	case missing <= 0:
		return 0
	case l.limit <= 0:
		return time.Minute
	}
	return time.Duration(missing / float64(l.limit) * float64(time.Second))
}

func (l *limiter) bucket(source netip.Prefix) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.sources[source]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket).tokens
	}
	if l.recent.Len() >= maxSources {
		oldest := l.recent.Remove(l.recent.Back()).(*bucket)
		delete(l.sources, oldest.source)
	}
	b := &bucket{source, rate.NewLimiter(l.limit, l.burst)}
	l.sources[source] = l.recent.PushFront(b)
	return b.tokens
}

// sourceOf is whom an address counts as. Who cannot be told apart (a proxy that
// does not say for whom it asks) shares one bucket.
func sourceOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap().WithZone(""); a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
