package ahead

import (
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

const (
	maxEarly     = 64        // OUT transfers that were answered and that the device has not taken
	maxEarlySize = 256 << 10 // bytes of them
	// outTimeout is the time that the device has for an OUT that was answered early: the
	// timeout of most drivers, which cannot cancel it any more.
	outTimeout = 5 * time.Second
)

// out holds the transfers of an OUT endpoint. The mu of its Stage guards it, and must be
// held by callers of its methods.
type out struct {
	stage   *Stage
	in      *pipe // of the responses
	isEarly bool  // the responses are verdicts
	proof   func(usb.Setup, []byte) bool

	strict bool // after an error, until an OUT has succeeded: the device answers
	sent   []*early
	size   int // bytes of sent
	direct map[*usb.URB]*transfer
}

// early is an OUT transfer that was answered early.
type early struct {
	*transfer
	timer *time.Timer
}

// submit handles an URB of the driver.
func (o *out) submit(u *usb.URB) {
	if status := o.in.takeFailure(); status != usb.StatusOK {
		o.stage.box.Finish(u, status)
		return
	}
	o.stage.work.Commands++
	sent := usb.URB{Endpoint: u.Endpoint, Flags: u.Flags, Interval: u.Interval, Data: u.Data}
	if !o.mayAnswer(len(u.Data)) {
		o.direct[u] = o.stage.post(sent, func(t *transfer) { o.directDone(u, t) })
		return
	}
	sent.Data = slices.Clone(u.Data)
	e := &early{}
	e.transfer = o.stage.post(sent, func(*transfer) { o.done(e) })
	e.timer = time.AfterFunc(outTimeout, func() { o.expire(e) })
	o.sent = append(o.sent, e)
	o.size += len(sent.Data)
	o.stage.work.Hits++
	u.Actual = len(u.Data)
	o.stage.box.Finish(u, usb.StatusOK)
}

// mayAnswer reports whether an OUT of n bytes may be answered early.
func (o *out) mayAnswer(n int) bool {
	return o.isEarly && !o.strict && o.in.chosen && len(o.direct) == 0 &&
		len(o.sent) < maxEarly && o.size+n <= maxEarlySize
}

// expire cancels an OUT that the device does not take.
func (o *out) expire(e *early) {
	s := o.stage
	s.mu.Lock()
	if slices.Contains(o.sent, e) {
		s.recall(e.transfer)
	}
	s.mu.Unlock()
	s.box.Run()
}

// done handles the end of an OUT that was answered early.
func (o *out) done(e *early) {
	e.timer.Stop()
	o.sent = slices.DeleteFunc(o.sent, func(other *early) bool { return other == e })
	o.size -= len(e.urb.Data)
	status := e.urb.Status
	switch {
	case status == usb.StatusOK && e.urb.Actual < len(e.urb.Data):
		status = usb.StatusIO
	case e.cancelled && status.Cancelled():
		status = usb.StatusTimeout
	}
	if status == usb.StatusOK || o.strict || o.stage.closed {
		return
	}
	o.strict = true
	for _, later := range o.sent { // the driver would not have sent them
		o.stage.recall(later.transfer)
	}
	o.in.fail(status)
}

// directDone handles the end of an OUT that the device answers.
func (o *out) directDone(u *usb.URB, t *transfer) {
	delete(o.direct, u)
	u.Actual = t.urb.Actual
	if t.urb.Status == usb.StatusOK {
		o.strict = false
	}
	o.stage.box.Finish(u, t.urb.Status)
}

// cancel cancels an URB of the driver.
func (o *out) cancel(u *usb.URB) {
	if t := o.direct[u]; t != nil {
		o.stage.recall(t)
	}
}

func (o *out) stopTimers() {
	for _, e := range o.sent {
		e.timer.Stop()
	}
}
