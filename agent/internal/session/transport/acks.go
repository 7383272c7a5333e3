package transport

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	ackDelay = 25 * time.Millisecond // of an acknowledgement, so that it covers more frames
	ackBytes = 256 << 10             // received bytes after which an acknowledgement does not wait
)

// ackBook lists the lanes whose frames have to be acknowledged.
//
//	frame arrives ──add──► listed ──take: an Ack is sent on the active link──► not listed
//	                          ▲                                                     │
//	                          └── setActive: the Ack may be lost with the old link ─┘
type ackBook struct {
	bytes atomic.Int64 // received since the last Ack

	mu sync.Mutex
	// Guarded by mu.
	active *linkRunner // sends the acknowledgements; nil: no link is up
	lanes  []*inLane
}

// add notes a frame of that many bytes. It wakes the active link for the first lane of the list, whose acknowledgement
// has to wait for ackDelay, and when ackBytes are reached. It returns false if the lane was listed before.
func (b *ackBook) add(in *inLane, bytes int) bool {
	now := b.bytes.Add(int64(bytes))
	reached := now >= ackBytes && now-int64(bytes) < ackBytes
	listed := in.listed.Load() || in.listed.Swap(true)
	if listed && !reached {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !listed {
		b.lanes = append(b.lanes, in)
	}
	if b.active != nil && (reached || len(b.lanes) == 1) {
		b.active.post.signal()
	}
	return !listed
}

// setActive makes a link send the acknowledgements. It lists all lanes on which a frame has arrived.
func (b *ackBook) setActive(l *linkRunner, lanes []*inLane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active = l
	for _, in := range lanes {
		if !in.listed.Swap(true) {
			b.lanes = append(b.lanes, in)
		}
	}
	if l != nil {
		l.post.signal()
	}
}

// take empties the list and returns its Ack, if l is the active link and an acknowledgement is due. It returns later
// if an acknowledgement has to wait.
func (b *ackBook) take(l *linkRunner, due bool) (ack tunnel.Ack, later bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active != l || len(b.lanes) == 0 {
		return nil, false
	}
	if !due && b.bytes.Load() < ackBytes {
		return nil, true
	}
	b.bytes.Store(0)
	for i, in := range b.lanes {
		in.listed.Store(false) // before next is read: a later frame lists the lane again
		if !in.group.closed.Load() {
			ack = append(ack, tunnel.LaneNext{Lane: in.lane, Next: in.next.Load()})
		}
		b.lanes[i] = nil
	}
	b.lanes = b.lanes[:0]
	return ack, false
}
