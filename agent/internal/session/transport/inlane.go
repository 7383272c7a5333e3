package transport

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// inLane receives the frames of the peer on one lane.
type inLane struct {
	group *Group
	lane  tunnel.Lane

	mu   sync.Mutex    // held during a delivery, because two links may bring frames of the lane
	next atomic.Uint64 // the number of the next frame; mu must be held to change it

	listed atomic.Bool // whether ackBook.lanes contains the lane
}

func newInLane(g *Group, lane tunnel.Lane) *inLane {
	in := &inLane{group: g, lane: lane}
	in.next.Store(1)
	return in
}

// receive delivers a frame if it is the next one. It drops a frame that has arrived before. An error means a gap.
func (in *inLane) receive(l *linkRunner, f tunnel.Frame) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	g := in.group
	if g.closed.Load() {
		return nil
	}
	counters, next := &g.state.transport.counters, in.next.Load()
	if f.Seq < next {
		counters.duplicates.Add(1)
		return nil
	}
	if f.Seq > next {
		return fmt.Errorf("a gap: frame %d of lane %#x where %d comes next", f.Seq, uint32(in.lane), next)
	}
	in.next.Store(next + 1)
	counters.received.Add(1)
	if g.state.acks.add(in, tunnel.HeaderSize+len(f.Body)) {
		l.noteFrame()
	}
	if err := g.receiver.Deliver(f); err != nil {
		g.violate(err.Error())
	}
	return nil
}
