package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A storm of connections leaves a heap behind of twice what the peers that stay
// need, and by itself Go gives little of it back for as long as they are idle. So
// the process collects and gives back once it has become quiet, at the price of
// one collection, some 5 ms for each 1,000 peers.
const (
	quietLook = 10 * time.Second
	quietRate = 32 << 20 // bytes: who allocates no more from one look to the next is quiet
	busyTotal = 48 << 20 // bytes: so much allocated since it gave back is worth doing it again
)

// keepMemory gives memory back to the system in quiet times, until ctx ends.
func keepMemory(ctx context.Context) {
	tick := time.NewTicker(quietLook)
	defer tick.Stop()
	var t thrift
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if t.look(allocated()) {
			debug.FreeOSMemory()
		}
	}
}

// allocated is how many bytes the process has ever allocated on its heap.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// thrift decides when giving memory back is worth it. The zero value begins with
// a process that has done nothing.
type thrift struct{ last, given uint64 }

// look reports whether to give memory back now, by what was ever allocated.
func (t *thrift) look(allocated uint64) bool {
	quiet := allocated-t.last <= quietRate
	t.last = allocated
	if !quiet || allocated-t.given < busyTotal {
		return false
	}
	t.given = allocated
	return true
}
