package transport

import (
	"cmp"
	"slices"
	"time"

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
		Features: []string{tunnel.FeatureChooses, tunnel.FeatureCopies},
		Limit:    s.transport.limit.own,
		Rank:     o.rank, Generation: o.generation, LinkID: o.id,
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
	if t.limit.peer != h.Limit {
		t.limit.setPeer(h.Limit)
		t.publish()
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

// receiveEarlyAck keeps an Ack until the link is ready. The peer may be ready first: it has this agent's Hello before
// Run learns that the Hello was sent. The peer may never send the same Ack again.
func (t *Transport) receiveEarlyAck(l *linkRunner, ack tunnel.Ack) {
	switch {
	case l.isOver():
	case l.isReady():
		if s := l.state.Load(); s == t.state {
			if err := s.acknowledge(ack); err != nil {
				t.drop(err.Error())
			}
		}
	case l.peerHello != nil && len(l.earlyAck)+len(ack) <= tunnel.MaxLanes:
		l.earlyAck = append(l.earlyAck, ack...)
	}
}

// makeReady lets the transport use a link if both Hellos fit the state.
func (t *Transport) makeReady(l *linkRunner) {
	s, h := t.state, l.peerHello
	if l.isOver() || l.isReady() || h == nil || l.said != s.incarnation || h.Incarnation != s.peer {
		return
	}
	if h.Peer == s.incarnation {
		if err := s.acknowledge(append(h.Lanes, l.earlyAck...)); err != nil {
			t.drop(err.Error())
			t.end(l, err.Error())
			return
		}
	}
	l.peerHello, l.earlyAck = nil, nil
	l.chooses = slices.Contains(h.Features, tunnel.FeatureChooses)
	l.copies.understood.Store(slices.Contains(h.Features, tunnel.FeatureCopies))
	l.state.Store(s)
	close(l.ready)
	t.publish()
	t.choice.linkReady(time.Now(), l.info.Path)
	t.choose()
}
