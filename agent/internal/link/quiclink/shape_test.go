package quiclink

import (
	"math/rand/v2"
	"sync"
	"time"
)

// shape is one direction of a network path in virtual time: a bottleneck with a queue, and
// then a delay.
type shape struct {
	rate  float64       // bytes per second
	queue time.Duration // that the bottleneck holds; it drops what exceeds it
	delay time.Duration
	loss  float64

	mu     sync.Mutex
	random *rand.Rand
	free   time.Time // when the bottleneck has sent everything
}

func (s *shape) send(size int, deliver func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.free.Before(now) {
		s.free = now
	}
	if s.free.Sub(now) > s.queue || s.random.Float64() < s.loss {
		return
	}
	s.free = s.free.Add(time.Duration(float64(size) / s.rate * float64(time.Second)))
	time.AfterFunc(s.free.Add(s.delay).Sub(now), deliver)
}
