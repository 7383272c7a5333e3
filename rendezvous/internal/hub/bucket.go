package hub

import "time"

// What a peer may send: a burst that covers two agents exchanging all their
// candidates at once, and a rate that no honest agent keeps up.
const (
	bucketSize = 128.0 // messages
	bucketRate = 32.0  // messages a second
	bucketUnit = 4096  // bytes that count as one message
)

// bucket is a token bucket, owned by one goroutine.
type bucket struct {
	tokens float64
	filled time.Time
}

func newBucket(now time.Time) bucket { return bucket{tokens: bucketSize, filled: now} }

// take takes n tokens if they are there.
func (b *bucket) take(now time.Time, n float64) bool {
	if passed := now.Sub(b.filled); passed > 0 {
		b.tokens = min(bucketSize, b.tokens+passed.Seconds()*bucketRate)
		b.filled = now
	}
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// messageCost is what a message with a body of that many bytes takes.
func messageCost(bytes int) float64 { return 1 + float64(bytes/bucketUnit) }
