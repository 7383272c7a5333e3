package transport

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	lossyTimeout  = 80 * time.Millisecond // after which a lossy frame that was not sent is useless
	maxLossyQueue = 256                   // batches of lossy frames of all groups that wait for a link
)

// lossyBatch is frames that are useless without each other. A link drops them if it cannot begin to send them in time.
type lossyBatch struct {
	lane   tunnel.Lane
	kind   tunnel.Kind
	bodies [][]byte
	until  time.Time
}

// Cast sends lossy frames on the lane of an endpoint. It drops all of them if no link is up, or if the link cannot
// begin to send them within lossyTimeout, or if a limit is reached: where a link is too slow for all, some batches
// arrive whole. The caller must not change the bodies afterwards.
func (g *Group) Cast(endpoint uint8, kind tunnel.Kind, bodies ...[]byte) {
	s := g.state
	l := s.sender.Load()
	if l == nil || g.closed.Load() {
		return
	}
	b := lossyBatch{tunnel.EndpointLane(g.attachment, endpoint), kind, bodies, time.Now().Add(lossyTimeout)}
	n := 0
	for _, body := range bodies {
		n += tunnel.HeaderSize + len(body)
	}
	if !g.limit.allow(n) || !s.transport.limit.allow(n) {
		s.transport.counters.expired.Add(uint64(len(bodies)))
		return
	}
	select {
	case l.lossy <- b:
	default:
		s.transport.counters.expired.Add(uint64(len(bodies)))
	}
}

// writeLossy sends lossy frames until the link ends. It has a goroutine of its own, because Send may block.
func (l *linkRunner) writeLossy() {
	for {
		select {
		case <-l.ended:
			return
		case b := <-l.lossy:
			if time.Now().After(b.until) {
				l.transport.counters.expired.Add(uint64(len(b.bodies)))
				continue
			}
			for _, body := range b.bodies {
				if err := l.link.Send(tunnel.Frame{Lane: b.lane, Kind: b.kind, Body: body}); err != nil {
					l.fail(sendError(err))
					return
				}
				l.transport.counters.sent.Add(1)
			}
		}
	}
}

// receiveLossy delivers a lossy frame. It drops the frame if its attachment has ended.
func (s *State) receiveLossy(l *linkRunner, f tunnel.Frame) error {
	g := (*s.groups.Load())[f.Lane.Attachment()]
	if g == nil || g.closed.Load() {
		return nil
	}
	deliver := g.receiver.Deliver
	if f.Kind == tunnel.KindCopy {
		deliver = func(f tunnel.Frame) error { return g.receiveCopy(l, f) }
	} else {
		s.transport.counters.received.Add(1)
	}
	if err := deliver(f); err != nil {
		g.violate(err.Error())
	}
	return nil
}
