package hub

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// send takes a message from the peer. To a peer that is here and known to allow
// it, it goes at once; what has to wait for the registry or another instance is
// a courier's, one for each receiver, so that nothing waits for a receiver that
// it is not for, and messages for one receiver do not overtake each other.
func (s *session) send(ctx context.Context, m signal.Send) {
	o := outgoing{Send: m, began: time.Now()}
	if !s.budget.take(s.hub.now(), messageCost(len(m.Body))) {
		s.answer(o, signal.FailureRate)
		return
	}
	if s.direct(o) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
	case s.carried >= maxCarried:
		s.hub.observe(true, signal.FailureBusy, 0)
		s.enqueueLocked(signal.SendFailed{ID: m.ID, Code: signal.FailureBusy})
	default:
		if s.couriers == nil {
			s.couriers = map[ident.PeerID][]outgoing{}
			s.away, s.recall = context.WithCancel(ctx)
		}
		queue, underWay := s.couriers[m.To]
		s.couriers[m.To] = append(queue, o)
		s.carried++
		if away := s.away; !underWay {
			s.running.Go(func() { s.carry(away, m.To) })
		}
	}
}

// direct delivers a message that has to wait for nothing, and reports whether it
// is one.
func (s *session) direct(m outgoing) bool {
	s.mu.Lock()
	_, underWay := s.couriers[m.To]
	s.mu.Unlock()
	if underWay || !s.hub.consents.fresh(m.To, s.id) {
		return false
	}
	to := s.hub.session(m.To)
	if to != nil {
		to.deliver(s.id, m.Body, func(err error) { s.answer(m, err) })
	}
	return to != nil
}

// carry hands on the peer's messages to one receiver until there are no more.
func (s *session) carry(ctx context.Context, to ident.PeerID) {
	for {
		s.mu.Lock()
		queue := s.couriers[to]
		if len(queue) == 0 || s.closing {
			if delete(s.couriers, to); len(s.couriers) == 0 {
				s.recall()
				s.couriers, s.away, s.recall = nil, nil, nil // an idle session keeps nothing
			}
			s.mu.Unlock()
			return
		}
		m := queue[0]
		s.couriers[to] = queue[1:]
		s.mu.Unlock()
		s.handOn(ctx, m)
	}
}

func (s *session) handOn(ctx context.Context, m outgoing) {
	done := func(err error) {
		s.mu.Lock()
		s.carried--
		s.mu.Unlock()
		s.answer(m, err)
	}
	if err := s.hub.consents.check(ctx, m.To, s.id); err != nil {
		done(err)
		return
	}
	if to := s.hub.session(m.To); to != nil {
		to.deliver(s.id, m.Body, done)
		return
	}
	m.elsewhere = true
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	s.hub.cluster.Forward(ctx, s.id, m.To, m.Body, done)
}
