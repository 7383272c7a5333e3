package limits

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Limit describes a token bucket.
type Limit struct {
	PerSecond float64 // tokens that are added per second; 0 adds none
	Burst     int     // tokens that a new bucket holds, and the most that it can hold
}

func (l Limit) newBucket() *rate.Limiter { return rate.NewLimiter(rate.Limit(l.PerSecond), l.Burst) }

// neverWait is the wait that callers are advised of when a bucket never gets another token.
const neverWait = time.Minute

// Limiter limits each key with a token bucket of its own. It holds a bounded number of buckets.
//
// When all buckets are in use, a new key takes over the least recently used bucket together with the tokens left in it.
// The bucket is not refilled. A flooder who cycles through more keys than there are buckets therefore gets no more
// tokens than one who owns exactly that many keys: in t seconds all keys together get at most
// maxKeys * (Burst + PerSecond*t) tokens. A well-behaved new key is still served, because the least recently used
// bucket is the one that has had the most time to refill.
type Limiter[K comparable] struct {
	limit   Limit // static
	maxKeys int   // static

	mu      sync.Mutex
	buckets *simplelru.LRU[K, *rate.Limiter] // guarded by mu
}

// NewLimiter returns a limiter that holds at most maxKeys buckets. It panics if maxKeys is not positive.
func NewLimiter[K comparable](limit Limit, maxKeys int) *Limiter[K] {
	return &Limiter[K]{limit: limit, maxKeys: maxKeys, buckets: newLRU[K, *rate.Limiter](maxKeys)}
}

func newLRU[K comparable, V any](size int) *simplelru.LRU[K, V] {
	l, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic("limits: the maximum number of keys must be positive")
	}
	return l
}

// Take takes a token from the bucket of key. If the bucket is empty, Take returns false and the time until it holds a
// token again.
func (l *Limiter[K]) Take(key K, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, found := l.buckets.Get(key)
	if !found {
		b = l.add(key)
	}
	if b.AllowN(now, 1) {
		return 0, true
	}
	return l.missing(b, now), false
}

// Wait returns the time until the bucket of key holds a token, without taking one. It returns 0 if there is a token
// now.
func (l *Limiter[K]) Wait(key K, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, found := l.buckets.Get(key)
	if !found {
		if l.buckets.Len() < l.maxKeys {
			return 0
		}
		_, b, _ = l.buckets.GetOldest() // the bucket that Take would use
	}
	return l.missing(b, now)
}

// Len returns the number of buckets that are in use.
func (l *Limiter[K]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.Len()
}

// add assigns a bucket to a new key. mu must be held.
func (l *Limiter[K]) add(key K) *rate.Limiter {
	var b *rate.Limiter
	if l.buckets.Len() < l.maxKeys {
		b = l.limit.newBucket()
	} else {
		_, b, _ = l.buckets.RemoveOldest()
	}
	l.buckets.Add(key, b)
	return b
}

// missing returns the time until b holds a token.
func (l *Limiter[K]) missing(b *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - b.TokensAt(now)
	switch {
	case missing <= 0:
		return 0
	case l.limit.PerSecond <= 0 || l.limit.Burst < 1:
		return neverWait
	}
	return time.Duration(missing / l.limit.PerSecond * float64(time.Second))
}
