package limits

import (
	"sync/atomic"
	"time"
)

// flowBurst is the share of its rate that a Flow lets pass at once. Packets that come faster for longer are refused.
const flowBurst = 250 * time.Millisecond

// FlowRate bounds a [Flow]. A field that is 0 sets no bound.
type FlowRate struct {
	Bytes   int64 // per second
	Packets int64 // per second
}

// Flow holds packets to a [FlowRate]. It is for data paths, where several goroutines take from it for every packet: it
// keeps the bucket as the time at which it will be empty (the generic cell rate algorithm, ITU-T I.371), in one atomic
// word. Each packet costs the time that the stricter of the two bounds assigns to it.
type Flow struct {
	rate  FlowRate     // static
	empty atomic.Int64 // unix nanoseconds
}

// NewFlow returns a flow with a rate.
func NewFlow(rate FlowRate) *Flow { return &Flow{rate: rate} }

// Take reports whether a packet of n bytes may pass now, in unix nanoseconds.
func (f *Flow) Take(now int64, n int) bool {
	var cost int64
	if f.rate.Bytes > 0 {
		cost = int64(n) * int64(time.Second) / f.rate.Bytes
	}
	if f.rate.Packets > 0 {
		cost = max(cost, int64(time.Second)/f.rate.Packets)
	}
	if cost == 0 {
		return true
	}
	for {
		empty := f.empty.Load()
		begin := max(empty, now)
		if begin-now > int64(flowBurst) {
			return false
		}
		if f.empty.CompareAndSwap(empty, begin+cost) {
			return true
		}
	}
}
