package transport

import (
	"cmp"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// linkOrder decides which of several links is the active one: the highest.
type linkOrder struct {
	rank       uint8
	generation uint64
	id         uint64
}

func (o linkOrder) compare(p linkOrder) int {
	return cmp.Or(cmp.Compare(o.rank, p.rank), cmp.Compare(o.generation, p.generation), cmp.Compare(o.id, p.id))
}

// hello returns the Hello for a link: this agent's part of the state.
func (s *State) hello(o linkOrder) *tunnel.Hello {
	h := &tunnel.Hello{
		Version: tunnel.Version, Incarnation: s.incarnation, Peer: s.peer,
		Rank: o.rank, Generation: o.generation, LinkID: o.id,
	}
	for _, in := range s.inLanes() {
		h.Lanes = append(h.Lanes, tunnel.LaneNext{Lane: in.lane, Next: in.next.Load()})
	}
	return h
}

// receiveHello follows the rules in the package comment of proto/tunnel.
func (t *Transport) receiveHello(l *linkRunner, h tunnel.Hello) {
	if l.isOver() {
		return
	}
	if !l.info.Dialed && !l.isReady() {
		l.order = linkOrder{h.Rank, h.Generation, h.LinkID}
		t.generation = max(t.generation, h.Generation)
		t.publish()
	}
	if h.Peer != 0 && h.Peer != t.state.incarnation {
		return // it is for a state that was dropped; the peer will say another one
	}
	if t.state.peer != 0 && t.state.peer != h.Incarnation {
		t.drop("the peer has lost its state; it was restarted, or out of reach for too long")
		if l.isOver() || h.Peer != 0 {
			return
		}
	}
	if l.isReady() {
		return // nothing new
	}
	t.state.peer = h.Incarnation
	l.peerHello = &h
	t.makeReady(l)
}

// makeReady lets the transport use a link if both Hellos fit the state.
func (t *Transport) makeReady(l *linkRunner) {
	s, h := t.state, l.peerHello
	if l.isOver() || l.isReady() || h == nil || l.said != s.incarnation || h.Incarnation != s.peer {
		return
	}
	if h.Peer == s.incarnation {
		if err := s.acknowledge(h.Lanes); err != nil {
			t.drop(err.Error())
			t.end(l, err.Error())
			return
		}
	}
	l.peerHello = nil
	l.state.Store(s)
	close(l.ready)
	t.publish()
	t.choose()
}
