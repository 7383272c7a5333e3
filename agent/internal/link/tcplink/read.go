package tcplink

import (
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// read delivers what comes on one connection until the link ends. Its error
// is what ended it.
func (l *tcpLink) read(on role, h *half, deliver func(tunnel.Frame) error) error {
	for {
		r, err := readRecord(h.from, &l.frames)
		if err != nil {
			return err
		}
		switch r.kind {
		case recordFrame:
			if !l.due(on, r.frame.Lane) {
				return link.ErrClosed
			}
			err = deliver(r.frame)
		case recordMove:
			err = l.move(on, r.lane)
		case recordEnd:
			err = l.endCrossing(on, r.lane)
		case recordAlive:
		case recordClose:
			err = &link.ClosedError{Reason: r.reason}
		}
		if err != nil {
			return err
		}
	}
}

// due waits until a frame of the lane that came on a connection is the lane's
// next. It returns false when the link ends first.
func (l *tcpLink) due(on role, lane tunnel.Lane) bool {
	var wait <-chan struct{}
	l.mu.Lock()
	c, ok := l.in[lane]
	switch {
	case on == roleBulk && !ok:
		c = l.newCrossing(lane)
		wait = c.moved
	case on == roleBulk:
		wait = c.moved
	case ok && closed(c.moved):
		wait = c.ended // the lane is begun again
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

// newCrossing notes a lane on the bulk connection. mu is held.
func (l *tcpLink) newCrossing(lane tunnel.Lane) *crossing {
	c := &crossing{moved: make(chan struct{}), ended: make(chan struct{})}
	l.in[lane] = c
	return c
}

// move deals with a recordMove.
func (l *tcpLink) move(on role, lane tunnel.Lane) error {
	l.mu.Lock()
	c, ok := l.in[lane]
	again := ok && closed(c.moved) // a lane that was begun again, and moves again
	full := len(l.in) >= tunnel.MaxLanes
	if !ok && !full {
		c = l.newCrossing(lane)
	}
	l.mu.Unlock()
	switch {
	case on != roleInteractive:
		return fmt.Errorf("%w: a lane moves from the bulk connection", tunnel.ErrMalformed)
	case !ok && full:
		return fmt.Errorf("%w: more than %d lanes", tunnel.ErrMalformed, tunnel.MaxLanes)
	case !again:
		close(c.moved)
		return nil
	}
	select {
	case <-c.ended:
		return l.move(on, lane)
	case <-l.done:
		return link.ErrClosed
	}
}

// endCrossing deals with a recordEnd.
func (l *tcpLink) endCrossing(on role, lane tunnel.Lane) error {
	if on != roleBulk {
		return fmt.Errorf("%w: a lane ends on the interactive connection", tunnel.ErrMalformed)
	}
	if !l.due(on, lane) {
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
