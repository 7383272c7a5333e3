package transport

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	lossyTimeout  = 150 * time.Millisecond // after which a lossy frame that was not sent is useless
	maxLossyQueue = 1024                   // lossy frames of all groups that wait for a link
)

// lossyFrame is a frame that a link drops if it cannot send it in time.
type lossyFrame struct {
	tunnel.Frame
	until time.Time
}

// Cast sends a lossy frame on the lane of an endpoint. It drops the frame if no link is up, or if the link cannot send
// it within lossyTimeout, or if a limit is reached. The caller must not change body afterwards.
func (g *Group) Cast(endpoint uint8, kind tunnel.Kind, body []byte) {
	s := g.state
	l := s.sender.Load()
	if l == nil || g.closed.Load() {
		return
	}
	f := tunnel.Frame{Lane: tunnel.EndpointLane(g.attachment, endpoint), Kind: kind, Body: body}
	if n := tunnel.HeaderSize + len(body); !g.limit.allow(n) || !s.transport.limit.allow(n) {
		s.transport.counters.expired.Add(1)
		return
	}
	select {
	case l.lossy <- lossyFrame{f, time.Now().Add(lossyTimeout)}:
	default:
		s.transport.counters.expired.Add(1)
	}
}

// writeLossy sends lossy frames until the link ends. It has a goroutine of its own, because Send may block.
func (l *linkRunner) writeLossy() {
	for {
		select {
		case <-l.ended:
			return
		case f := <-l.lossy:
			if time.Now().After(f.until) {
				l.transport.counters.expired.Add(1)
				continue
			}
			if err := l.link.Send(f.Frame); err != nil {
				l.fail(sendError(err))
				return
			}
			l.transport.counters.sent.Add(1)
		}
	}
}

// receiveLossy delivers a lossy frame. It drops the frame if its attachment has ended.
func (s *State) receiveLossy(f tunnel.Frame) error {
	g := (*s.groups.Load())[f.Lane.Attachment()]
	if g == nil || g.closed.Load() {
		return nil
	}
	s.transport.counters.received.Add(1)
	if err := g.receiver.Deliver(f); err != nil {
		g.violate(err.Error())
	}
	return nil
}
