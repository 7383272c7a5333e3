package relay

import (
	"sync/atomic"
	"time"
)

// burst is how much of its rate a budget lets pass at once: what comes faster
// for longer is cut after as much.
const burst = 250 * time.Millisecond

// Rate bounds how much is relayed, in both directions together. Of zero, a
// field is no bound.
type Rate struct {
	Bytes   int64 // a second, those of the relayed packets themselves
	Packets int64 // a second
}

// budget holds packets to a Rate. It is a bucket kept as the moment at which it
// will be empty (GCRA), so that goroutines share it without a lock. Each packet
// costs the time that the stricter bound gives it.
type budget struct {
	rate  Rate
	empty atomic.Int64 // unix nanoseconds
}

// take reports whether a packet of n bytes may pass at a moment, in unix
// nanoseconds.
func (b *budget) take(now int64, n int) bool {
	var cost int64
	if b.rate.Bytes > 0 {
		cost = int64(n) * int64(time.Second) / b.rate.Bytes
	}
	if b.rate.Packets > 0 {
		cost = max(cost, int64(time.Second)/b.rate.Packets)
	}
	if cost == 0 {
		return true
	}
	for {
		empty := b.empty.Load()
		begin := max(empty, now)
		if begin-now > int64(burst) {
			return false
		}
		if b.empty.CompareAndSwap(empty, begin+cost) {
			return true
		}
	}
}
