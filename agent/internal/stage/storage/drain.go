package storage

import (
	"slices"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// drain is the state of the mode draining, in which the stage holds the driver's URBs
// back until nothing of the stage is under way.
type drain struct {
	stage      *Stage
	held       []*usb.URB // URBs of the driver that arrived meanwhile
	cancelled  []*usb.URB // URBs of the driver, in ins or unsent, that it has cancelled
	toPassing  bool       // the mode passing follows; otherwise the driver's command is repeated
	cancels    bool       // all exchanges are cancelled, because the driver gives up its command
	needsReset bool       // a command of the stage was cancelled, so the device may be within a command
	failure    *exchange  // the command of the stage that failed
	recovery   *recovery  // in work
}

// begin begins to drain. With cancels, it cancels everything that is under way. mu
// must be held.
func (t *drain) begin(then mode, cancels bool) {
	s := t.stage
	s.mode = draining
	t.toPassing = t.toPassing || then == passing
	if cancels && !t.cancels {
		t.cancels = true
		t.cancelExchanges()
		t.recovery.hurry()
	}
	if s.exchanges.len() == 0 {
		t.resolve()
	}
}

// cancelExchanges cancels the exchanges that are under way. mu must be held.
func (t *drain) cancelExchanges() {
	s := t.stage
	for x := range s.exchanges.list {
		if x.errand != nil {
			t.needsReset = true
		}
		for _, u := range []*usb.URB{x.command, x.data, x.status} {
			if u != nil {
				s.box.Cancel(u)
			}
		}
	}
	for _, sh := range s.passed.shadows {
		if sh.exchange != nil {
			s.box.Cancel(sh.urb)
		}
	}
}

// resolve ends the draining, once nothing is under way. mu must be held.
func (t *drain) resolve() {
	s := t.stage
	switch {
	case t.recovery != nil:
		return
	case t.needsReset || t.failure != nil:
		t.recovery = newRecovery(s, t.failure, t.needsReset)
		t.failure, t.needsReset = nil, false
		t.recovery.next()
		return
	}
	s.exchanges.epoch++
	c := s.cmd
	if c != nil && c.exchange != nil && !c.exchange.dropped && !c.ended && !t.cancels {
		s.turnOff("the host dropped a part of a command without a reason")
	}
	held, cancelled, gaveUp, toPassing := t.held, t.cancelled, t.cancels, t.toPassing || s.isOff() && !c.isPartial()
	*t = drain{stage: s}
	switch {
	case toPassing:
		t.giveUp(c, cancelled, gaveUp)
	case c == nil:
		s.mode = idle
	default:
		s.mode = busy
		if c.exchange != nil && c.exchange.dropped && !c.ended {
			s.exchanges.launch(c)
		}
		c.question.repeat()
		s.checkWaiting()
		s.pump()
	}
	s.cache.advance()
	if s.mode != passing && s.ahead.unit(0).answers.again {
		s.exchanges.probe()
	}
	for _, u := range held {
		s.submit(u)
	}
}

// giveUp lets the driver's command pass, if there is one. The driver can still fetch
// the data that have arrived. mu must be held.
func (t *drain) giveUp(c *command, cancelled []*usb.URB, gaveUp bool) {
	s := t.stage
	s.mode, s.cmd = passing, nil
	s.passed.left, s.passed.isBetween = stream{}, c == nil
	s.ahead.dropAll()
	var waited []*usb.URB
	if c != nil {
		s.passed.left, s.passed.unit = c.stream, c.wrapper.unit()
		unreached := c.exchange == nil && !c.ended && !c.refused || c.exchange != nil && c.exchange.dropped && !c.ended
		waited = c.unsent
		switch {
		case unreached && gaveUp: // the device must not take them for a command
			t.failAll(c.unsent, cancelled)
			waited = nil
		case unreached:
			t.passCommand(c)
			t.passData(c)
		}
	}
	waited = slices.Concat(waited, s.outs, s.ins)
	s.outs, s.ins = nil, nil
	for _, u := range waited {
		if !slices.Contains(cancelled, u) {
			s.passed.pass(u)
			continue
		}
		status, _, done := s.passed.left.fill(u, s.place.maxPacket)
		if u.Endpoint != s.place.in || !done {
			u.Actual, status = 0, usb.StatusReset
		}
		s.box.Finish(u, status)
	}
}

// failAll completes data of the driver whose command has not reached the device.
// mu must be held.
func (t *drain) failAll(unsent, cancelled []*usb.URB) {
	s := t.stage
	for _, u := range unsent {
		status := usb.StatusProtocol
		if slices.Contains(cancelled, u) {
			status = usb.StatusReset
		}
		u.Actual = 0
		s.box.Finish(u, status)
	}
}

// passCommand sends a command of the driver, which the device has not seen, like one
// that passes unchanged. If it fails, the driver's next transfer fails too. mu must be held.
func (t *drain) passCommand(c *command) {
	s := t.stage
	u := &usb.URB{Endpoint: s.place.out, Data: append([]byte(nil), c.wrapper[:]...), Done: func(*usb.URB) {}}
	s.passed.command = u
	s.passed.pass(u)
}

// passData sends the data that the stage has taken of the driver for a command. mu must be
// held.
func (t *drain) passData(c *command) {
	if s := t.stage; len(c.collected) > 0 {
		s.passed.pass(&usb.URB{Endpoint: s.place.out, Data: c.collected, Done: func(*usb.URB) {}})
	}
}
