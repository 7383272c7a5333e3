package session

import (
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// outgoing returns what is to be said on lane 0 now, the incarnation if a Hello
// is among it, and whether something is left to acknowledge later.
func (l *linkRun) outgoing(ackNow bool) (frames []tunnel.Frame, said uint64, ackLater bool) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(k tunnel.Kind, body []byte) {
		frames = append(frames, tunnel.Frame{Kind: k, Body: body})
	}
	if l.sayHello {
		l.sayHello = false
		said = s.state.self
		add(tunnel.KindHello, l.newHello().Encode())
	}
	if l.pong != nil {
		add(tunnel.KindPong, l.pong.Encode())
		l.pong = nil
	}
	if l == s.links.active && len(s.state.unreported) > 0 {
		ackLater = !ackNow && s.state.received < ackBytes
		if !ackLater {
			if ack := s.takeAck(); len(ack) > 0 {
				add(tunnel.KindAck, ack.Encode())
			}
		}
	}
	if l.goodbye != "" {
		add(tunnel.KindGoodbye, l.goodbye.Encode())
		l.goodbye = ""
	}
	return frames, said, ackLater
}

// newHello says where this end stands. Mu is held.
func (l *linkRun) newHello() tunnel.Hello {
	st := &l.s.state
	h := tunnel.Hello{
		Version: tunnel.Version, Incarnation: st.self, Peer: st.peer,
		Rank: l.order.rank, Generation: l.order.generation, LinkID: l.order.id,
	}
	for _, g := range st.groups {
		for _, r := range g.rx {
			h.Lanes = append(h.Lanes, tunnel.LaneNext{Lane: r.lane, Next: r.next})
		}
	}
	return h
}

// helloSaid notes that a Hello is on its way, ahead of all else.
func (l *linkRun) helloSaid(incarnation uint64) {
	l.s.mu.Lock()
	l.said = incarnation
	l.s.makeReady(l)
	l.s.unlock()
}

// deliverLink takes a frame of lane 0.
func (l *linkRun) deliverLink(f tunnel.Frame) error {
	switch f.Kind {
	case tunnel.KindHello:
		h, err := tunnel.DecodeHello(f.Body)
		if err != nil {
			return err
		}
		return l.hear(h)
	case tunnel.KindPing:
		p, err := tunnel.DecodePing(f.Body)
		if err != nil {
			return err
		}
		l.s.mu.Lock()
		l.pong = &p
		l.s.mu.Unlock()
		l.poke()
	case tunnel.KindPong:
		_, err := tunnel.DecodePing(f.Body)
		return err
	case tunnel.KindAck:
		ack, err := tunnel.DecodeAck(f.Body)
		if err != nil {
			return err
		}
		l.hearAck(ack)
	case tunnel.KindGoodbye:
		g, err := tunnel.DecodeGoodbye(f.Body)
		if err != nil {
			return err
		}
		l.hearGoodbye(g)
	}
	return nil
}

// hear takes a Hello, by the rules in the package comment of proto/tunnel.
func (l *linkRun) hear(h tunnel.Hello) error {
	if h.Version != tunnel.Version {
		return fmt.Errorf("the peer speaks version %d of the protocol, this agent version %d: update the older one", h.Version, tunnel.Version)
	}
	s := l.s
	s.mu.Lock()
	defer s.unlock()
	if l.isOver {
		return nil
	}
	if !l.link.Info().Dialed && !l.isReady {
		l.order = linkOrder{h.Rank, h.Generation, h.LinkID}
		s.links.generation = max(s.links.generation, h.Generation)
	}
	if h.Peer != 0 && h.Peer != s.state.self {
		return nil // meant for a state that is gone; the peer will say it again
	}
	if s.state.peer != 0 && s.state.peer != h.Incarnation {
		s.dropState("the peer has lost its state; it was restarted, or out of reach for too long")
		if l.isOver || h.Peer != 0 {
			return nil
		}
	}
	if l.isReady {
		return nil // nothing new
	}
	s.state.peer = h.Incarnation
	l.hello = &h
	s.makeReady(l)
	return nil
}

// makeReady lets the session use a link if both Hellos fit. Mu is held.
func (s *Session) makeReady(l *linkRun) {
	st := &s.state
	if l.isOver || l.isReady || l.hello == nil || l.said != st.self || l.hello.Incarnation != st.peer {
		return
	}
	standing := make(map[tunnel.Lane]uint64)
	if l.hello.Peer == st.self {
		for _, n := range l.hello.Lanes {
			standing[n.Lane] = n.Next
		}
		if err := s.acknowledgeAll(l.hello.Lanes); err != nil {
			s.dropState(err.Error())
			s.endLink(l, err.Error())
			return
		}
	}
	l.standing, l.hello = standing, nil
	l.isReady = true
	close(l.ready)
	l.pokeWatch()
	s.choose()
}

// acknowledgeAll takes what the peer says of its lanes; those of attachments
// that are no more do not matter. Mu is held.
func (s *Session) acknowledgeAll(lanes []tunnel.LaneNext) error {
	for _, n := range lanes {
		g := s.state.groups[n.Lane.Attachment()]
		if g == nil {
			continue
		}
		t := g.tx[n.Lane]
		if t == nil {
			if n.Next > 1 {
				return fmt.Errorf("the peer acknowledges frame %d of lane %#x, on which nothing was sent", n.Next-1, uint32(n.Lane))
			}
			continue
		}
		if err := s.acknowledge(t, n.Next); err != nil {
			return err
		}
	}
	return nil
}

func (l *linkRun) hearAck(ack tunnel.Ack) {
	s := l.s
	s.mu.Lock()
	defer s.unlock()
	if !l.isReady || l.isOver {
		return
	}
	if err := s.acknowledgeAll(ack); err != nil {
		s.dropState(err.Error())
	}
}

func (l *linkRun) hearGoodbye(g tunnel.Goodbye) {
	s := l.s
	s.mu.Lock()
	defer s.unlock()
	if g == tunnel.GoodbyeStopping && l.isReady && !l.isOver {
		s.dropState("the peer's agent was stopped")
	}
	s.endLink(l, "the peer said goodbye: "+string(g))
}
