package storage

import (
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// stepTimeout is the time for one transfer of a recovery.
const stepTimeout = 20 * time.Second

// recovery brings the device back to the state between two commands after a command
// of the stage that failed, and fetches its sense data. It does what a driver does
// (6.7.2, 5.3.3 and 5.3.4), with one transfer at a time:
//
//	stalled ───────► clear ────► status ──┐
//	                                      ├─failed─► sense ──► done
//	           failed with a status ──────┘
//	anything else, or an error above ──► reset ──► clearIn ──► clearOut ──► done
//
// Stage.mu guards it.
type recovery struct {
	stage   *Stage
	failure *exchange // nil: only the reset
	steps   []step
	urb     *usb.URB // in work
	timer   *time.Timer
	isReset bool // the steps are those of the reset
	sense   []byte
}

type step uint8

const (
	clearIn step = iota
	clearOut
	fetchStatus
	senseCommand
	senseData
	senseStatus
	massStorageReset
)

func newRecovery(s *Stage, failure *exchange, mustReset bool) *recovery {
	r := &recovery{stage: s, failure: failure}
	switch {
	case failure == nil:
		r.reset()
	case mustReset:
		failure.errand.unreached(failure)
		r.reset()
	case failure.command.Status == usb.StatusTimeout, failure.status.Status == usb.StatusTimeout,
		failure.data != nil && failure.data.Status == usb.StatusTimeout: // a block that cannot be read, perhaps
		failure.errand.failed(failure, nil)
		r.reset()
	case failure.data != nil && !failure.data.In() && failure.data.Status == usb.StatusStall:
		r.steps = []step{clearOut, fetchStatus}
	case failure.stalledIn():
		r.steps = []step{clearIn, fetchStatus}
	case failure.verdict() == failed:
		r.steps = []step{senseCommand, senseData, senseStatus}
	default:
		r.broken()
	}
	return r
}

// stalledIn reports whether the device has halted the IN endpoint within the data, after
// them, or before the status (6.7.2, cases 4 and 5).
func (x *exchange) stalledIn() bool {
	data := usb.StatusOK
	if x.data != nil {
		data = x.data.Status
	}
	return data == usb.StatusStall || data == usb.StatusOK && x.status.Status == usb.StatusStall
}

// reset replaces the steps by the Reset Recovery (5.3.4).
func (r *recovery) reset() {
	r.isReset, r.steps = true, []step{massStorageReset, clearIn, clearOut}
}

// broken turns the stage off, and resets the device.
func (r *recovery) broken() {
	r.stage.turnOff("the disk broke the Bulk-Only Transport protocol in a command of the stage")
	r.failure.errand.failed(r.failure, nil)
	r.reset()
}

// stop ends the timer.
func (r *recovery) stop() {
	if r != nil && r.timer != nil {
		r.timer.Stop()
	}
}

// hurry cancels the step in work, because the driver waits for the end.
func (r *recovery) hurry() {
	if r != nil && r.urb != nil && !r.isReset {
		r.stage.box.Cancel(r.urb)
	}
}

// next begins the next step, or ends the recovery.
func (r *recovery) next() {
	s := r.stage
	if len(r.steps) == 0 {
		s.drain.recovery = nil
		s.drain.resolve()
		return
	}
	u := r.build(r.steps[0])
	u.Done = func(*usb.URB) { r.done(u) }
	r.urb = u
	r.timer = time.AfterFunc(stepTimeout, func() {
		s.mu.Lock()
		if r.urb == u && !s.closed {
			s.box.Cancel(u)
		}
		s.mu.Unlock()
		s.box.Run()
	})
	s.box.Submit(u)
}

// build returns the transfer of a step.
func (r *recovery) build(st step) *usb.URB {
	p := r.stage.place
	clearHalt := func(e usb.Endpoint) *usb.URB {
		return &usb.URB{Setup: usb.Setup{Type: 0x02, Request: 1, Index: uint16(e)}.Bytes()}
	}
	switch st {
	case clearIn:
		return clearHalt(p.in)
	case clearOut:
		return clearHalt(p.out)
	case senseCommand:
		block := []byte{opRequestSense, 0, 0, 0, senseLength, 0}
		r.stage.exchanges.tag++
		w := newWrapper(firstTag+r.stage.exchanges.tag, r.failure.wrapper.unit(), senseLength, block)
		r.failure.wrapper = w
		return &usb.URB{Endpoint: p.out, Data: w[:]}
	case senseData:
		return &usb.URB{Endpoint: p.in, Data: make([]byte, senseLength)}
	case massStorageReset:
		return &usb.URB{Setup: usb.Setup{Type: 0x21, Request: 0xff, Index: uint16(p.number)}.Bytes()}
	}
	return &usb.URB{Endpoint: p.in, Data: make([]byte, max(p.maxPacket, statusLength))}
}

// done handles the end of a step.
func (r *recovery) done(u *usb.URB) {
	s := r.stage
	s.mu.Lock()
	r.stop()
	r.urb = nil
	if !s.closed {
		st := r.steps[0]
		r.steps = r.steps[1:]
		switch {
		case u.Status == usb.StatusOK && r.accept(st, u.Data[:u.Actual]):
		case r.isReset: // the driver will find out
			r.steps = nil
			s.turnOff("the disk did not accept a reset")
		default:
			r.broken()
		}
		r.next()
	}
	s.mu.Unlock()
	s.box.Run()
}

// accept handles the result of a step. It returns false if the device breaks the
// protocol.
func (r *recovery) accept(st step, b []byte) bool {
	x := r.failure
	switch st {
	case fetchStatus:
		switch x.wrapper.verdict(b) {
		case broken:
			return false
		case failed:
			r.steps = []step{senseCommand, senseData, senseStatus}
		default:
			x.status.Data, x.status.Actual, x.status.Status = b, len(b), usb.StatusOK
			x.errand.done(x, x.wrapper.verdict(b))
		}
	case senseData:
		r.sense = b
	case senseStatus:
		if v := x.wrapper.verdict(b); v != good && v != short {
			return false
		}
		x.errand.failed(x, r.sense)
	}
	return true
}
