package transport

import (
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// laneSlots is the number of endpoint addresses: 16 numbers in 2 directions.
const laneSlots = 32

// Group is the lanes of one attachment, or lane 1. Its methods may be called concurrently.
type Group struct {
	state      *State
	attachment uint16
	receiver   Receiver
	closed     atomic.Bool   // set with State.mu held
	over       chan struct{} // closed by closeLanes
	limit      limiter
	in         [laneSlots]atomic.Pointer[inLane]
	out        [laneSlots]atomic.Pointer[OutLane] // added with State.mu held
}

func newGroup(s *State, attachment uint16, r Receiver) *Group {
	return &Group{state: s, attachment: attachment, receiver: r, over: make(chan struct{})}
}

// slot returns the index of an endpoint's lanes. ok is false for a number that is no lane's.
func slot(endpoint uint8) (i int, ok bool) {
	return int(endpoint&0x0f | endpoint>>3&0x10), endpoint&0x70 == 0 && endpoint != 0x80
}

// Open lets frames of the peer reach the group. No other open group may have its number. The group is closed if its
// state was dropped.
func (g *Group) Open() { g.state.add(g) }

// Allow lets the peer send on the lane of an endpoint. Frames on other lanes violate the protocol.
func (g *Group) Allow(endpoint uint8) {
	lane := tunnel.EndpointLane(g.attachment, endpoint)
	if i, ok := slot(lane.Endpoint()); ok && g.in[i].Load() == nil {
		g.in[i].CompareAndSwap(nil, newInLane(g, lane))
	}
}

// Lane returns the lane of a valid endpoint address for this agent to send on. The class counts if the lane is new.
func (g *Group) Lane(endpoint uint8, class tunnel.Class) *OutLane {
	lane := tunnel.EndpointLane(g.attachment, endpoint)
	i, _ := slot(lane.Endpoint())
	if o := g.out[i].Load(); o != nil {
		return o
	}
	g.state.mu.Lock()
	defer g.state.mu.Unlock()
	o := g.out[i].Load()
	if o == nil {
		o = &OutLane{group: g, lane: lane, class: class, first: 1, closed: g.closed.Load(), link: g.state.active}
		g.out[i].Store(o)
	}
	return o
}

// Close ends the lanes. Frames that are pushed or that arrive afterwards are dropped.
func (g *Group) Close() {
	if g.state.remove(g) {
		g.closeLanes()
	}
}

func (g *Group) closeLanes() {
	close(g.over)
	for _, o := range g.outLanes() {
		o.close()
	}
}

// violate reports that the peer broke the protocol on a lane of the group. Without lane 1 the state cannot go on.
func (g *Group) violate(reason string) {
	if g == g.state.control {
		g.state.violate(reason)
	} else {
		g.receiver.Violated(reason)
	}
}

// inLane returns the lane of an endpoint for the peer to send on, or nil.
func (g *Group) inLane(endpoint uint8) *inLane {
	i, ok := slot(endpoint)
	if !ok {
		return nil
	}
	return g.in[i].Load()
}

// outLane returns the lane of an endpoint if this agent has sent on it, or nil.
func (g *Group) outLane(endpoint uint8) *OutLane {
	i, ok := slot(endpoint)
	if !ok {
		return nil
	}
	return g.out[i].Load()
}

func (g *Group) outLanes() []*OutLane {
	var lanes []*OutLane
	for i := range g.out {
		if o := g.out[i].Load(); o != nil {
			lanes = append(lanes, o)
		}
	}
	return lanes
}
