package transport

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// State is one incarnation of the session: lanes that both peers drop together when either of them loses its part.
type State struct {
	transport   *Transport
	incarnation uint64
	control     *Group // lane 1
	acks        ackBook
	violated    sync.Once
	groups      atomic.Pointer[map[uint16]*Group] // by attachment. Replaced, never changed: mu must be held
	sender      atomic.Pointer[linkRunner]        // of lossy frames: active. Changed with mu held

	peer uint64 // the incarnation of the peer; 0: none yet. Owned by Run

	mu sync.Mutex
	// Guarded by mu.
	closed bool
	active *linkRunner // the link that new lanes send on
}

func newState(t *Transport) *State {
	s := &State{transport: t, incarnation: randomNumber()}
	s.control = newGroup(s, tunnel.LaneSession.Attachment(), nil)
	s.control.Allow(tunnel.LaneSession.Endpoint())
	s.groups.Store(&map[uint16]*Group{s.control.attachment: s.control})
	return s
}

// Control returns the group of lane 1.
func (s *State) Control() *Group { return s.control }

// NewGroup returns a group for the lanes of an attachment. Group.Open opens it.
func (s *State) NewGroup(attachment uint16, r Receiver) *Group { return newGroup(s, attachment, r) }

// add adds a group. It closes the group if the state is closed.
func (s *State) add(g *Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		g.closed.Store(true)
		return
	}
	groups := maps.Clone(*s.groups.Load())
	groups[g.attachment] = g
	s.groups.Store(&groups)
}

// remove takes a group out of the state. It returns false if the group was closed before.
func (s *State) remove(g *Group) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.closed.Swap(true) {
		return false
	}
	groups := maps.Clone(*s.groups.Load())
	delete(groups, g.attachment)
	s.groups.Store(&groups)
	return true
}

// close ends all lanes. Frames that are pushed or that arrive afterwards are dropped.
func (s *State) close() {
	s.mu.Lock()
	groups := *s.groups.Load()
	s.groups.Store(&map[uint16]*Group{})
	s.closed = true
	for _, g := range groups {
		g.closed.Store(true)
	}
	s.mu.Unlock()
	for _, g := range groups {
		g.closeLanes()
	}
}

// violate has Run drop the state.
func (s *State) violate(reason string) {
	s.violated.Do(func() { s.transport.inbox.post(violationEvent{s, reason}) })
}

// setActive makes all lanes send on a link, or on none.
func (s *State) setActive(l *linkRunner) {
	s.mu.Lock()
	s.active = l
	s.sender.Store(l)
	for _, g := range *s.groups.Load() {
		for _, o := range g.outLanes() {
			o.use(l)
		}
	}
	s.mu.Unlock()
	s.acks.setActive(l, s.inLanes())
}

// total returns the sums for the choice of a link.
func (s *State) total() total {
	t := total{acked: s.transport.counters.acked.Load()}
	for _, g := range *s.groups.Load() {
		for _, o := range g.outLanes() {
			o.mu.Lock()
			t.backlog += o.backlog
			o.mu.Unlock()
		}
	}
	return t
}

// forget stops the writers of a link that has ended.
func (s *State) forget(l *linkRunner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range *s.groups.Load() {
		for _, o := range g.outLanes() {
			o.forget(l)
		}
	}
}

// inLanes returns the lanes on which a frame has arrived.
func (s *State) inLanes() []*inLane {
	var lanes []*inLane
	for _, g := range *s.groups.Load() {
		for i := range g.in {
			if in := g.in[i].Load(); in != nil && in.next.Load() > 1 {
				lanes = append(lanes, in)
			}
		}
	}
	return lanes
}

// receive handles a frame of a lane other than 0.
func (s *State) receive(l *linkRunner, f tunnel.Frame) error {
	g := (*s.groups.Load())[f.Lane.Attachment()]
	if g == nil {
		return nil // the attachment or the state has ended
	}
	in := g.inLane(f.Lane.Endpoint())
	if in == nil {
		g.violate(fmt.Sprintf("a frame for endpoint %#x, which does not exist", f.Lane.Endpoint()))
		return nil
	}
	return in.receive(l, f)
}

// acknowledge handles the numbers that the peer expects next. It ignores the lanes of attachments that have ended.
func (s *State) acknowledge(lanes []tunnel.LaneNext) error {
	for _, n := range lanes {
		g := (*s.groups.Load())[n.Lane.Attachment()]
		if g == nil {
			continue
		}
		o := g.outLane(n.Lane.Endpoint())
		if o == nil {
			if n.Next > 1 {
				return fmt.Errorf("the peer acknowledges frame %d of lane %#x, on which nothing was sent",
					n.Next-1, uint32(n.Lane))
			}
			continue
		}
		cost, err := o.acknowledge(n.Next)
		if err != nil {
			return err
		}
		if cost > 0 {
			g.receiver.Acknowledged(n.Lane, n.Next, cost)
		}
	}
	return nil
}
