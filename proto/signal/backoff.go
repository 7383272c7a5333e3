package signal

import (
	"math/rand/v2"
	"time"
)

// The delays of a peer between two attempts to connect. All peers keep to them, so that the load of their return is
// spread over time when an instance dies.
const (
	MinDelay   = 200 * time.Millisecond
	firstRange = time.Second // bound of the first delay
	MaxDelay   = time.Minute
	MaxPause   = 10 * time.Minute // the longest pause that a rendezvous can ask for
	SteadyAge  = 10 * time.Second // a connection that lasted longer is soon attempted again
)

// Backoff computes the delays between attempts. All of them are random (full jitter): up to a second after a steady
// connection was lost, and otherwise up to a bound that doubles from a second to MaxDelay. The zero value is ready.
type Backoff struct{ bound time.Duration }

// Next returns the delay before the next attempt, at most MaxDelay. lostSteady means that a connection has just ended
// that had lasted longer than SteadyAge, or that ended with ByeDraining, which only a few peers get at a time.
func (b *Backoff) Next(lostSteady bool) time.Duration {
	if lostSteady {
		b.bound = 0
		return rand.N(firstRange)
	}
	b.bound = min(max(2*b.bound, firstRange), MaxDelay)
	return MinDelay + rand.N(b.bound-MinDelay)
}

// Spread returns the delay after a rendezvous has asked for a pause: the pause, at most MaxPause, and up to a second
// more, so that peers with the same pause do not return at the same moment.
func Spread(pause time.Duration) time.Duration {
	return min(max(pause, 0), MaxPause) + rand.N(firstRange)
}
