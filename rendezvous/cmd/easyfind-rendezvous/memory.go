package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// After many peers have connected at the same time, the heap is twice as large as
// these peers need. While they are idle, Go returns little of it to the system. The
// process therefore returns memory as soon as it is quiet. This costs one garbage
// collection, about 5 ms for each 1,000 peers.
const (
	quietInterval = 10 * time.Second // between two checks
	quietBytes    = 32 << 20         // the process is quiet if it allocates at most this between two checks
	worthBytes    = 48 << 20         // allocations since the last time that make it worth returning memory again
)

// keepMemory returns memory to the system in quiet times, until ctx ends.
func keepMemory(ctx context.Context) {
	tick := time.NewTicker(quietInterval)
	defer tick.Stop()
	var p memoryPolicy
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if p.check(allocated()) {
			debug.FreeOSMemory()
		}
	}
}

// allocated returns the bytes that the process has ever allocated on its heap.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// memoryPolicy decides when to return memory. The zero value is for a process that
// has allocated nothing.
type memoryPolicy struct {
	last     uint64 // allocated at the last check
	returned uint64 // allocated when memory was returned
}

// check reports whether to return memory now. allocated is the number of bytes that
// the process has ever allocated.
func (p *memoryPolicy) check(allocated uint64) bool {
	quiet := allocated-p.last <= quietBytes
	p.last = allocated
	if !quiet || allocated-p.returned < worthBytes {
		return false
	}
	p.returned = allocated
	return true
}
