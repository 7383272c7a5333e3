package session

import (
	"fmt"
	"sync"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// frameCost is what a frame is counted for besides its body, in bytes.
const frameCost = 64

// maxControlFrames bounds what lane 1 keeps for a peer that acknowledges
// nothing. An honest one needs a few for each attachment.
const maxControlFrames = 32 * tunnel.MaxAttachments

// group is the lanes of one attachment, or lane 1. All of it but the functions
// is guarded by Session.mu; the functions are called without it.
type group struct {
	attachment uint16
	tx         map[tunnel.Lane]*txLane
	rx         map[tunnel.Lane]*rxLane
	endpoints  map[uint8]struct{} // on whose lanes the peer may send
	dead       bool

	// Static once the group is in state.groups.
	deliver  func(tunnel.Frame) error // in order within a lane; an error breaks the protocol
	released func(cost int)           // frames of that cost were acknowledged
	violated func(reason string)      // the peer broke the protocol on these lanes
}

func newGroup(attachment uint16) *group {
	return &group{
		attachment: attachment,
		tx:         make(map[tunnel.Lane]*txLane),
		rx:         make(map[tunnel.Lane]*rxLane),
		endpoints:  make(map[uint8]struct{}),
	}
}

// txLane keeps what has been sent, or is to be, and is not acknowledged.
type txLane struct {
	lane   tunnel.Lane
	group  *group
	first  uint64 // number of frames[0]: all before were acknowledged
	frames []sentFrame
}

type sentFrame struct {
	kind tunnel.Kind
	body []byte
	cost int
}

// end is the number of the next new frame.
func (t *txLane) end() uint64 { return t.first + uint64(len(t.frames)) }

// rxLane is how far the peer's frames have come.
type rxLane struct {
	lane  tunnel.Lane
	group *group
	order sync.Mutex // held while a frame is delivered: two links may bring the same lane
	// Guarded by Session.mu.
	next     uint64
	reported bool // false: it is in state.unreported
}

// push appends a frame to a lane and returns its number, or false if the lane
// is no more.
func (s *Session) push(g *group, lane tunnel.Lane, kind tunnel.Kind, body []byte, cost int) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushFrame(g, lane, kind, body, cost)
}

// pushControl sends a message on lane 1, if the state that g is of still holds.
// Mu is held.
func (s *Session) pushControl(g *group, kind tunnel.Kind, body []byte) bool {
	_, ok := s.pushFrame(g, tunnel.LaneSession, kind, body, len(body)+frameCost)
	if ok && len(g.tx[tunnel.LaneSession].frames) > maxControlFrames {
		s.after = append(s.after, func() { s.dropIf(g, "the peer acknowledges nothing") })
	}
	return ok
}

func (s *Session) pushFrame(g *group, lane tunnel.Lane, kind tunnel.Kind, body []byte, cost int) (uint64, bool) {
	if g.dead {
		return 0, false
	}
	t := g.tx[lane]
	if t == nil {
		t = &txLane{lane: lane, group: g, first: 1}
		g.tx[lane] = t
	}
	t.frames = append(t.frames, sentFrame{kind, body, cost})
	s.kick(t)
	return t.end() - 1, true
}

// acknowledge lets go of a lane's frames before next. Mu is held.
func (s *Session) acknowledge(t *txLane, next uint64) error {
	if next > t.end() {
		return fmt.Errorf("the peer acknowledges frame %d of lane %#x, of which %d exist", next-1, uint32(t.lane), t.end()-1)
	}
	if next <= t.first {
		return nil
	}
	n, cost := int(next-t.first), 0
	for _, f := range t.frames[:n] {
		cost += f.cost
	}
	clear(t.frames[:n])
	t.frames, t.first = t.frames[n:], next
	if released := t.group.released; released != nil {
		s.after = append(s.after, func() { released(cost) })
	}
	return nil
}

// receive takes a frame of another lane than 0 from a link that is ready.
func (l *linkRun) receive(f tunnel.Frame) error {
	s := l.s
	s.mu.Lock()
	g := s.state.groups[f.Lane.Attachment()]
	if g == nil || l.isOver { // of an attachment or a state that is no more
		s.mu.Unlock()
		return nil
	}
	r := g.rx[f.Lane]
	if r == nil {
		if _, ok := g.endpoints[f.Lane.Endpoint()]; !ok {
			s.mu.Unlock()
			g.violated(fmt.Sprintf("a frame for endpoint %#x, which is not there", f.Lane.Endpoint()))
			return nil
		}
		r = &rxLane{lane: f.Lane, group: g, next: 1, reported: true}
		g.rx[f.Lane] = r
	}
	s.mu.Unlock()

	r.order.Lock()
	defer r.order.Unlock()
	if fresh, err := l.count(r, f); !fresh {
		return err
	}
	if err := g.deliver(f); err != nil {
		g.violated(err.Error())
	}
	return nil
}

// count reports whether the frame is the next of its lane, and counts it then.
func (l *linkRun) count(r *rxLane, f tunnel.Frame) (fresh bool, err error) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.group.dead || l.isOver:
		return false, nil
	case f.Seq < r.next:
		s.counters.Duplicates++
		return false, nil
	case f.Seq > r.next:
		return false, fmt.Errorf("a gap: frame %d of lane %#x where %d comes next", f.Seq, uint32(f.Lane), r.next)
	}
	r.next++
	s.counters.FramesReceived++
	s.state.received += tunnel.HeaderSize + len(f.Body)
	s.unreport(r)
	if s.links.active != nil {
		s.links.active.poke()
	}
	return true, nil
}

func (s *Session) unreport(r *rxLane) {
	if r.reported {
		r.reported = false
		s.state.unreported = append(s.state.unreported, r)
	}
}

// takeAck returns what is to be acknowledged. Mu is held.
func (s *Session) takeAck() tunnel.Ack {
	var ack tunnel.Ack
	for _, r := range s.state.unreported {
		r.reported = true
		if !r.group.dead {
			ack = append(ack, tunnel.LaneNext{Lane: r.lane, Next: r.next})
		}
	}
	s.state.unreported, s.state.received = nil, 0
	return ack
}

// endGroup lets go of the lanes of an attachment. Mu is held.
func (s *Session) endGroup(g *group) {
	if g.dead {
		return
	}
	g.dead = true
	if s.state.groups[g.attachment] == g {
		delete(s.state.groups, g.attachment)
	}
	for l := range s.links.all {
		for _, t := range g.tx {
			if c := l.cursors[t]; c != nil && !c.pumped { // else its pump does it
				delete(l.cursors, t)
				s.after = append(s.after, func() { l.link.EndLane(t.lane) })
			}
		}
	}
	for _, t := range g.tx {
		t.frames = nil
	}
}
