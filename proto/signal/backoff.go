package signal

import (
	"math/rand/v2"
	"time"
)

// The waits of a peer between two attempts to connect. All peers keep to them:
// when an instance dies they come back spread out, and soon.
const (
	MinDelay   = 200 * time.Millisecond
	firstRange = 800 * time.Millisecond // bound of the first wait
	MaxDelay   = 30 * time.Second
	Steady     = 10 * time.Second // a connection that stood longer is worth an attempt at once
)

// Backoff gives the waits between attempts: none after the loss of a steady
// connection, then random ones up to a bound that doubles (full jitter).
type Backoff struct{ bound time.Duration }

// Next returns how long to wait before the next attempt, at most MaxDelay.
// lostSteady says that a connection has just been lost that had stood for longer
// than Steady.
func (b *Backoff) Next(lostSteady bool) time.Duration {
	if lostSteady {
		b.bound = 0
		return 0
	}
	b.bound = min(max(2*b.bound, firstRange), MaxDelay)
	return MinDelay + rand.N(b.bound-MinDelay)
}
