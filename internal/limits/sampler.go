package limits

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Sampler passes a bounded number of log records and counts the others.
type Sampler struct {
	mu      sync.Mutex
	bucket  *rate.Limiter
	skipped int // guarded by mu
}

// NewSampler returns a sampler that passes what limit allows.
func NewSampler(limit Limit) *Sampler { return &Sampler{bucket: limit.newBucket()} }

// Take reports whether a record passes, and if it does, how many records did not pass since the last one that did.
func (s *Sampler) Take(now time.Time) (skipped int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bucket.AllowN(now, 1) {
		s.skipped++
		return 0, false
	}
	skipped, s.skipped = s.skipped, 0
	return skipped, true
}

// Samplers holds a [Sampler] for each key, such as the text of a log record. It holds a bounded number of them.
//
// When there are too many keys, the least recently used one is forgotten. Unlike in [Limiter], a new key starts with a
// full bucket: to lose a record that nobody has seen is worse than to repeat one. Samplers therefore does not bound
// the total number of records.
type Samplers[K comparable] struct {
	limit Limit // static

	mu       sync.Mutex
	samplers *simplelru.LRU[K, *Sampler] // guarded by mu
}

// NewSamplers returns samplers for at most maxKeys keys. It panics if maxKeys is not positive.
func NewSamplers[K comparable](limit Limit, maxKeys int) *Samplers[K] {
	return &Samplers[K]{limit: limit, samplers: newLRU[K, *Sampler](maxKeys)}
}

// Take is [Sampler.Take] for the sampler of key.
func (s *Samplers[K]) Take(key K, now time.Time) (skipped int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, found := s.samplers.Get(key)
	if !found {
		one = NewSampler(s.limit)
		s.samplers.Add(key, one)
	}
	return one.Take(now)
}
