package tcplink

import (
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// read delivers the frames of one connection until the link ends. It returns
// the error that ended the link.
func (l *tcpLink) read(on role, h *half, deliver func(tunnel.Frame) error) error {
	for {
		r, err := readRecord(h.in, &l.frames)
		if err != nil {
			return err
		}
		switch r.kind {
		case recordFrame:
			if !r.frame.Kind.Lossy() && !l.waitTurn(on, r.frame.Lane) {
				return link.ErrClosed
			}
			err = deliver(r.frame)
		case recordMove:
			err = l.moveLane(on, r.lane)
		case recordEnd:
			err = l.endBulkLane(on, r.lane)
		case recordAlive:
		case recordClose:
			err = &link.ClosedError{Reason: r.reason}
		}
		if err != nil {
			return err
		}
	}
}

// waitTurn waits until all earlier frames of the lane have been delivered from
// the other connection. It returns false if the link ends first.
func (l *tcpLink) waitTurn(on role, lane tunnel.Lane) bool {
	var wait <-chan struct{}
	l.mu.Lock()
	b, ok := l.in[lane]
	switch {
	case on == roleBulk && !ok:
		b = l.newBulkLane(lane)
		wait = b.moved
	case on == roleBulk:
		wait = b.moved
	case ok && closed(b.moved):
		wait = b.ended // the lane begins again
	}
	over := l.err != nil
	l.mu.Unlock()
	if wait == nil {
		return !over
	}
	select {
	case <-wait:
		return !over
	case <-l.done:
		return false
	}
}

// newBulkLane adds a lane to l.in. mu must be held.
func (l *tcpLink) newBulkLane(lane tunnel.Lane) *bulkLane {
	b := &bulkLane{moved: make(chan struct{}), ended: make(chan struct{})}
	l.in[lane] = b
	return b
}

// moveLane handles a recordMove.
func (l *tcpLink) moveLane(on role, lane tunnel.Lane) error {
	l.mu.Lock()
	b, ok := l.in[lane]
	again := ok && closed(b.moved) // the lane began again and moves again
	full := len(l.in) >= tunnel.MaxLanes
	if !ok && !full {
		b = l.newBulkLane(lane)
	}
	l.mu.Unlock()
	switch {
	case on != roleInteractive:
		return fmt.Errorf("%w: a lane moves from the bulk connection", tunnel.ErrMalformed)
	case !ok && full:
		return fmt.Errorf("%w: more than %d lanes", tunnel.ErrMalformed, tunnel.MaxLanes)
	case !again:
		close(b.moved)
		return nil
	}
	select {
	case <-b.ended:
		return l.moveLane(on, lane)
	case <-l.done:
		return link.ErrClosed
	}
}

// endBulkLane handles a recordEnd.
func (l *tcpLink) endBulkLane(on role, lane tunnel.Lane) error {
	if on != roleBulk {
		return fmt.Errorf("%w: a lane ends on the interactive connection", tunnel.ErrMalformed)
	}
	if !l.waitTurn(on, lane) {
		return link.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.in[lane].ended)
	delete(l.in, lane)
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
