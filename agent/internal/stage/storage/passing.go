package storage

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// passage holds the URBs of the driver that the device has, and what the driver has not
// fetched of a command that was given up.
type passage struct {
	stage   *Stage
	shadows map[*usb.URB]*shadow
	count   int      // of them, those that passed unchanged
	command *usb.URB // a command of the driver that the stage has repeated; nil: none
	left    stream
	unit    uint8 // of the latest command
	// isBetween means that the device is between two commands, except that endpoints may
	// be halted.
	isBetween bool
}

// shadow is the copy of an URB of the driver that the device gets.
type shadow struct {
	urb       *usb.URB
	exchange  *exchange // whose data it holds; nil: it passes unchanged
	cancelled bool      // by the driver
}

// toPassing lets all further URBs pass unchanged. mu must be held.
func (s *Stage) toPassing() {
	s.passed.isBetween = s.cmd == nil
	if s.cmd != nil {
		s.outs = append(s.cmd.unsent, s.outs...)
		s.passed.unit = s.cmd.wrapper.unit()
	}
	s.mode, s.cmd = passing, nil
	s.passed.left = stream{}
	s.exchanges.epoch++
	s.ahead.dropAll()
	s.resubmit()
}

// pass passes an URB unchanged. mu must be held.
func (p *passage) pass(u *usb.URB) {
	s := p.stage
	p.isBetween = p.isBetween && u.Endpoint.Number() == 0
	if w, ok := parseWrapper(u.Data); ok && u.Endpoint == s.place.out {
		p.unit = w.unit()
	}
	if u.Endpoint == s.place.in && len(p.left.chunks) > 0 {
		status, last, done := p.left.fill(u, s.place.maxPacket)
		if done {
			s.box.Finish(u, status)
			if last.isStatus {
				p.statusPassed(last.data)
			}
			return
		}
		p.left = stream{}
	}
	sh := &shadow{urb: &usb.URB{
		Endpoint: u.Endpoint, Setup: u.Setup, Flags: u.Flags, Data: u.Data, Packets: u.Packets,
		Interval: u.Interval, StartFrame: u.StartFrame,
	}}
	sh.urb.Done = func(*usb.URB) { p.passedDone(u, sh) }
	p.shadows[u] = sh
	p.count++
	s.box.Submit(sh.urb)
}

// passedDone handles the completion of an URB that passed unchanged.
func (p *passage) passedDone(u *usb.URB, sh *shadow) {
	s := p.stage
	s.mu.Lock()
	delete(p.shadows, u)
	p.count--
	if p.command == u {
		p.command = nil
	}
	r := sh.urb
	u.Actual, u.ErrorCount, u.StartFrame = r.Actual, r.ErrorCount, r.StartFrame
	s.box.Finish(u, r.Status)
	if u.Endpoint.Number() == 0 {
		p.controlDone(u, r.Status)
	} else if u.Endpoint == s.place.in && r.Status == usb.StatusOK && isStatus(r.Data[:r.Actual]) {
		p.statusPassed(r.Data[:r.Actual])
	}
	if s.cache.flush.closing {
		s.cache.force()
	}
	s.mu.Unlock()
	s.box.Run()
}

// statusPassed handles a status wrapper that the driver has got. mu must be held.
func (p *passage) statusPassed(b []byte) {
	if !isStatus(b) {
		return
	}
	if s := p.stage; b[12] != statusPassed {
		s.cache.suspect(s.ahead.unit(p.unit))
	}
	p.toIdle()
}

// toIdle ends the mode passing when the device is between two commands, if the driver has
// no transfer under way. mu must be held.
func (p *passage) toIdle() {
	s := p.stage
	if s.mode == passing && p.count == 0 && len(p.left.chunks) == 0 && s.chosen && !s.isOff() {
		s.mode = idle
		s.cache.held = true // the driver may clear halts, or fetch sense data
		s.cache.arm()
	}
}

// isReset reports whether a control URB changes the state of the endpoints of the
// disk. clears reports whether it also ends the command in work.
func (p *passage) isReset(u *usb.URB) (is, clears bool) {
	s := p.stage
	setup := u.SetupPacket()
	switch setup.Change() {
	case usb.SetConfiguration, usb.PortReset:
		return true, true
	case usb.SetInterface:
		is = setup.Index == uint16(s.place.number)
		return is, is
	case usb.ClearHalt:
		return setup.Index == uint16(s.place.in) || setup.Index == uint16(s.place.out), false
	}
	// Bulk-Only Mass Storage Reset (3.1)
	is = setup.Type == 0x21 && setup.Request == 0xff && setup.Index == uint16(s.place.number)
	return is, is
}

// control handles a control URB of the driver. mu must be held.
func (p *passage) control(u *usb.URB) {
	s := p.stage
	is, clears := p.isReset(u)
	switch {
	case !is:
		s.box.Submit(u)
		return
	case s.cache.mustFlush(u):
		s.cache.controls = append(s.cache.controls, u)
		s.cache.force()
		return
	case s.mode == draining, s.mode == busy, s.mode == idle && s.exchanges.len() > 0:
		s.drain.held = append(s.drain.held, u)
		s.drain.begin(passing, true)
		return
	case s.mode == idle:
		s.toPassing()
	}
	if clears {
		p.left = stream{}
		p.cancelRepeated()
	}
	p.pass(u)
}

// cancelRepeated cancels the command that the stage has repeated, because the driver
// gives up. mu must be held.
func (p *passage) cancelRepeated() {
	s := p.stage
	if sh := p.shadows[p.command]; sh != nil {
		s.box.Cancel(sh.urb)
	}
}

// controlDone handles the end of a request that changes the state of the endpoints.
// mu must be held.
func (p *passage) controlDone(u *usb.URB, status usb.Status) {
	s := p.stage
	if status != usb.StatusOK {
		return
	}
	setup := u.SetupPacket()
	switch setup.Change() {
	case usb.ClearHalt:
		if !p.isBetween {
			return
		}
	case usb.SetConfiguration:
		s.ahead.forgetDriver()
		s.chosen = setup.Value == uint16(s.place.configuration) && s.place.alternate == 0
	case usb.SetInterface:
		s.chosen = setup.Value == uint16(s.place.alternate)
	}
	p.isBetween = true
	p.toIdle()
}
