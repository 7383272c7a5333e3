package signal

import (
	"math/rand/v2"
	"time"
)

// The waits of a peer between two attempts to connect. All peers keep to them:
// when an instance dies they come back spread out, and soon.
const (
	MinDelay   = 200 * time.Millisecond
	firstRange = time.Second // bound of the first wait
	MaxDelay   = time.Minute
	MaxPause   = 10 * time.Minute // that a rendezvous may ask for
	Steady     = 10 * time.Second // a connection that stood longer is worth an attempt soon
)

// Backoff gives the waits between attempts, all of them random (full jitter): up
// to a second after the loss of a steady connection, otherwise up to a bound that
// doubles from there to MaxDelay.
type Backoff struct{ bound time.Duration }

// Next returns how long to wait before the next attempt, at most MaxDelay.
// lostSteady says that a connection has just been lost that had stood for longer
// than Steady, or that ended with ByeDraining, which only a few peers are told at
// a time.
func (b *Backoff) Next(lostSteady bool) time.Duration {
	if lostSteady {
		b.bound = 0
		return rand.N(firstRange)
	}
	b.bound = min(max(2*b.bound, firstRange), MaxDelay)
	return MinDelay + rand.N(b.bound-MinDelay)
}

// Spread returns how long to wait where a rendezvous has asked for a pause: as
// long, at most MaxPause, and up to a second more, so that those who were asked
// the same do not come back together.
func Spread(pause time.Duration) time.Duration {
	return min(max(pause, 0), MaxPause) + rand.N(firstRange)
}
