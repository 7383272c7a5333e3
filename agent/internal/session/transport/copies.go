package transport

import (
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	// copyDelay is the time between an interactive frame and its copy. The copy must not be in the same packet, and
	// better not in the same burst of losses.
	copyDelay = 4 * time.Millisecond
	copyLoss  = 0.002 // share of lost packets from which on frames are copied
	maxCopies = 64    // that wait
)

// copies holds the copies that a link has to send, and whether it makes any.
type copies struct {
	queue      chan delayedCopy
	understood atomic.Bool // the peer has tunnel.FeatureCopies
	active     atomic.Bool
}

// delayedCopy is a copy that is not sent yet.
type delayedCopy struct {
	lane  *OutLane
	seq   uint64
	frame tunnel.Frame
	at    time.Time
}

// decideCopies turns copies on if the link loses packets. The round trip that a retransmission takes is what a person
// notices. TCP needs no copies here: they would wait behind the lost packet.
func (l *linkRunner) decideCopies(loss float64) {
	l.copies.active.Store(l.copies.understood.Load() && overUDP(l.info.Path) && loss >= copyLoss)
}

// copyLater has writeCopies send a copy of an interactive frame of an endpoint.
func (l *linkRunner) copyLater(o *OutLane, f tunnel.Frame) {
	isEndpoint := f.Lane > tunnel.LaneSession && f.Lane.Endpoint() != 0
	if f.Class != tunnel.ClassInteractive || !isEndpoint || len(f.Body) > tunnel.MaxCopied || !l.copies.active.Load() {
		return
	}
	body := tunnel.Copy{Seq: f.Seq, Kind: f.Kind, Body: f.Body}.Encode()
	c := delayedCopy{o, f.Seq, tunnel.Frame{Lane: f.Lane, Kind: tunnel.KindCopy, Body: body}, time.Now().Add(copyDelay)}
	select {
	case l.copies.queue <- c:
	default: // maxCopies wait: the next ones replace it
	}
}

// writeCopies sends copies when they are due, until the link ends.
func (l *linkRunner) writeCopies() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ended:
			return
		case c := <-l.copies.queue:
			timer.Reset(time.Until(c.at))
			select {
			case <-l.ended:
				return
			case <-timer.C:
			}
			if c.lane.isAcknowledged(c.seq) {
				continue
			}
			if err := l.link.Send(c.frame); err != nil {
				l.fail(sendError(err))
				return
			}
		}
	}
}

// isAcknowledged reports whether the peer has received a frame.
func (o *OutLane) isAcknowledged(number uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return number < o.first
}

// receiveCopy delivers the frame of a Copy if it is the next one of its lane.
func (g *Group) receiveCopy(l *linkRunner, f tunnel.Frame) error {
	c, err := tunnel.DecodeCopy(f.Body)
	if err != nil {
		return err
	}
	if in := g.inLane(f.Lane.Endpoint()); in != nil && c.Seq == in.next.Load() {
		return in.receive(l, tunnel.Frame{Lane: f.Lane, Seq: c.Seq, Kind: c.Kind, Body: c.Body})
	}
	return nil
}
