package httpapi

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Limit is a token bucket for each source: an IPv4 address or an IPv6 /64. The
// zero value is the default of what it limits.
type Limit struct {
	PerMinute int
	Burst     int
}

// Limits bound what one source may ask for, and what one peer may. Each
// instance counts for itself.
type Limits struct {
	Challenges    Limit // 60 a minute, 60 at once
	Registrations Limit // 30 a minute, 30 at once
	NewPeers      Limit // registered by an open server: 1 a minute, 20 at once
	Tries         Limit // of pairings: 6 a minute, 12 at once
	Misses        Limit // tries at addresses where nobody pairs, of all sources together: 600 a minute, 1200 at once
	Admin         Limit // failed attempts to be an administrator: 30 a minute, 30 at once
	Tokens        Limit // failed attempts to be a peer: 120 a minute, 240 at once
	Peer          Limit // requests of one peer, from wherever: 600 a minute, 2048 at once
}

// limited is what is limited.
type limited int

const (
	limitChallenges limited = iota
	limitRegistrations
	limitNewPeers
	limitTries
	limitMisses
	limitAdmin
	limitTokens
)

// limitNames are what the audit log calls them.
var limitNames = map[limited]string{
	limitChallenges: "take a challenge", limitRegistrations: "register", limitNewPeers: "register uninvited",
	limitTries: "pair", limitMisses: "pair while many guess", limitAdmin: "administer", limitTokens: "be a peer",
}

// maxSources bounds the sources, or peers, that are remembered for each limit;
// the one not seen for longest is forgotten. At 65,536 it takes a /48 of one's
// own to be forgotten on purpose.
const maxSources = 65_536

func newLimiters(l Limits) map[limited]*limiter[netip.Prefix] {
	return map[limited]*limiter[netip.Prefix]{
		limitChallenges:    newLimiter[netip.Prefix](l.Challenges, Limit{60, 60}),
		limitRegistrations: newLimiter[netip.Prefix](l.Registrations, Limit{30, 30}),
		limitNewPeers:      newLimiter[netip.Prefix](l.NewPeers, Limit{1, 20}),
		limitTries:         newLimiter[netip.Prefix](l.Tries, Limit{6, 12}),
		limitMisses:        newLimiter[netip.Prefix](l.Misses, Limit{600, 1200}),
		limitAdmin:         newLimiter[netip.Prefix](l.Admin, Limit{30, 30}),
		limitTokens:        newLimiter[netip.Prefix](l.Tokens, Limit{120, 240}),
	}
}

func newPeerLimiter(l Limits) *limiter[ident.PeerID] {
	return newLimiter[ident.PeerID](l.Peer, Limit{600, 2048})
}

// limiter holds a bucket for each source, the most recently seen first.
type limiter[K comparable] struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex
	sources map[K]*list.Element // of *bucket[K]; guarded by mu
	recent  *list.List          // guarded by mu
}

type bucket[K comparable] struct {
	source K
	tokens *rate.Limiter
}

func newLimiter[K comparable](l, otherwise Limit) *limiter[K] {
	if l == (Limit{}) {
		l = otherwise
	}
	return &limiter[K]{
		limit: rate.Limit(float64(l.PerMinute) / 60), burst: l.Burst,
		sources: map[K]*list.Element{}, recent: list.New(),
	}
}

// take takes a token of a source. Where there is none it returns how long until
// there is.
func (l *limiter[K]) take(source K, now time.Time) (wait time.Duration, ok bool) {
	tokens := l.bucket(source)
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
func (l *limiter[K]) wait(source K, now time.Time) time.Duration {
	missing := 1 - l.bucket(source).TokensAt(now)
	switch {
	case missing <= 0:
		return 0
	case l.limit <= 0:
		return time.Minute
	}
	return time.Duration(missing / float64(l.limit) * float64(time.Second))
}

func (l *limiter[K]) bucket(source K) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.sources[source]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket[K]).tokens
	}
	if l.recent.Len() >= maxSources {
		oldest := l.recent.Remove(l.recent.Back()).(*bucket[K])
		delete(l.sources, oldest.source)
	}
	b := &bucket[K]{source, rate.NewLimiter(l.limit, l.burst)}
	l.sources[source] = l.recent.PushFront(b)
	return b.tokens
}
