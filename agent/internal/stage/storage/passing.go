package storage

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// passed holds the URBs of the driver that the device has, and what the driver has not
// fetched of a command that was given up.
type passed struct {
	shadows map[*usb.URB]*shadow
	count   int      // of them, those that passed unchanged
	command *usb.URB // a command of the driver that the stage has repeated; nil: none
	left    stream
}

// shadow is the copy of an URB of the driver that the device gets.
type shadow struct {
	urb       *usb.URB
	exchange  *exchange // whose data it holds; nil: it passes unchanged
	cancelled bool      // by the driver
}

// toPassing lets all further URBs pass unchanged. mu must be held.
func (s *Stage) toPassing() {
	if s.cmd != nil {
		s.outs = append(s.cmd.unsent, s.outs...)
	}
	s.mode, s.cmd = passing, nil
	s.passed.left = stream{}
	s.flights.epoch++
	s.ahead.dropAll()
	s.resubmit()
}

func (s *Stage) toPassingIfBusy() {
	if s.mode == busy {
		s.toPassing()
	}
}

// pass passes an URB unchanged. mu must be held.
func (s *Stage) pass(u *usb.URB) {
	if u.Endpoint == s.place.in && len(s.passed.left.chunks) > 0 {
		status, _, done := s.passed.left.fill(u, s.place.maxPacket)
		if done {
			s.box.Finish(u, status)
			return
		}
		s.passed.left = stream{}
	}
	sh := &shadow{urb: &usb.URB{
		Endpoint: u.Endpoint, Setup: u.Setup, Flags: u.Flags, Data: u.Data, Packets: u.Packets,
		Interval: u.Interval, StartFrame: u.StartFrame,
	}}
	sh.urb.Done = func(*usb.URB) { s.passedDone(u, sh) }
	s.passed.shadows[u] = sh
	s.passed.count++
	s.box.Submit(sh.urb)
}

// passedDone handles the completion of an URB that passed unchanged.
func (s *Stage) passedDone(u *usb.URB, sh *shadow) {
	s.mu.Lock()
	delete(s.passed.shadows, u)
	s.passed.count--
	if s.passed.command == u {
		s.passed.command = nil
	}
	r := sh.urb
	u.Actual, u.ErrorCount, u.StartFrame = r.Actual, r.ErrorCount, r.StartFrame
	s.box.Finish(u, r.Status)
	if u.Endpoint.Number() == 0 {
		s.controlDone(u, r.Status)
	} else if u.Endpoint == s.place.in && r.Status == usb.StatusOK && isStatus(r.Data[:r.Actual]) {
		s.toIdle()
	}
	s.mu.Unlock()
	s.box.Run()
}

// toIdle ends the mode passing when the device is between two commands, if the driver has
// no transfer under way. mu must be held.
func (s *Stage) toIdle() {
	if s.mode == passing && s.passed.count == 0 && len(s.passed.left.chunks) == 0 && s.chosen && s.off == "" {
		s.mode = idle
	}
}

// isReset reports whether a control URB changes the state of the endpoints of the
// disk. clears reports whether it also ends the command in work.
func (s *Stage) isReset(u *usb.URB) (is, clears bool) {
	p := u.SetupPacket()
	switch p.Change() {
	case usb.SetConfiguration, usb.PortReset:
		return true, true
	case usb.SetInterface:
		is = p.Index == uint16(s.place.number)
		return is, is
	case usb.ClearHalt:
		return p.Index == uint16(s.place.in) || p.Index == uint16(s.place.out), false
	}
	is = p.Type == 0x21 && p.Request == 0xff && p.Index == uint16(s.place.number) // Bulk-Only Mass Storage Reset (3.1)
	return is, is
}

// control handles a control URB of the driver. mu must be held.
func (s *Stage) control(u *usb.URB) {
	is, clears := s.isReset(u)
	switch {
	case !is:
		s.box.Submit(u)
		return
	case s.mode == settling, s.mode == busy, s.mode == idle && s.flights.len() > 0:
		s.settling.held = append(s.settling.held, u)
		s.settle(passing, true)
		return
	case s.mode == idle:
		s.toPassing()
	}
	if clears {
		s.passed.left = stream{}
		s.cancelRepeated()
	}
	s.pass(u)
}

// cancelRepeated cancels the command that the stage has repeated, because the driver
// gives up. mu must be held.
func (s *Stage) cancelRepeated() {
	if sh := s.passed.shadows[s.passed.command]; sh != nil {
		s.box.Cancel(sh.urb)
	}
}

// controlDone handles the end of a request that changes the state of the endpoints.
// mu must be held.
func (s *Stage) controlDone(u *usb.URB, status usb.Status) {
	if status != usb.StatusOK {
		return
	}
	p := u.SetupPacket()
	switch p.Change() {
	case usb.ClearHalt:
		return
	case usb.SetConfiguration:
		s.chosen = p.Value == uint16(s.place.configuration) && s.place.alternate == 0
	case usb.SetInterface:
		s.chosen = p.Value == uint16(s.place.alternate)
	}
	s.toIdle()
}
