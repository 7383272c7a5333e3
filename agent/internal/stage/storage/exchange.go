package storage

import (
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// firstTag begins the tags of the commands of the stage.
const firstTag = 0x45460000

// exchanges holds the exchanges that are under way.
type exchanges struct {
	stage  *Stage
	list   map[*exchange]struct{}
	epoch  uint32   // see package guard
	number uint32   // of the latest exchange
	tag    uint32   // of the latest command of the stage
	free   [][]byte // buffers of segments, for reuse
}

const maxFree = 32 // buffers of at most maxPiece bytes

// buffer returns a buffer of n bytes, which may hold data of earlier reads.
func (f *exchanges) buffer(n int) []byte {
	if last := len(f.free) - 1; last >= 0 && cap(f.free[last]) >= n {
		b := f.free[last][:n]
		f.free = f.free[:last]
		return b
	}
	return make([]byte, n)
}

// recycle reuses the buffers of the segments that only c has used, and that its
// driver has fetched. mu must be held.
func (f *exchanges) recycle(c *command) {
	for _, g := range c.waiting {
		if g.dropped && len(f.free) < maxFree {
			f.free = append(f.free, g.data)
			g.data = nil
		}
	}
	c.waiting = nil
}

func (f *exchanges) len() int { return len(f.list) }

// exchange is a command that is under way.
type exchange struct {
	wrapper wrapper
	errand  errand // nil: a command of the driver
	out     []byte // data that the stage sends
	meter   *meter // nil: that of reads
	mark    guard.Mark
	start   start
	left    int  // URBs that are not complete
	hasData bool // data is complete

	command, data, status *usb.URB // data is nil if the stage transfers no data

	dropped bool       // the command has not reached the device
	failure usb.Status // of a transfer
}

// errand is a command of the stage itself. Its methods are called with Stage.mu held.
type errand interface {
	// done handles an answer of the device that is good or short.
	done(x *exchange, v verdict)
	// failed handles an error, after the device has recovered from it. sense is empty if
	// there are no sense data.
	failed(x *exchange, sense []byte)
	// unreached handles a command that the device has not seen, or not finished because
	// the driver gave up.
	unreached(x *exchange)
}

// verdict returns the verdict of the device, or broken if it gave none.
func (x *exchange) verdict() verdict {
	if x.command.Status != usb.StatusOK || x.status.Status != usb.StatusOK ||
		x.data != nil && x.data.Status != usb.StatusOK {
		return broken
	}
	return x.wrapper.verdict(x.status.Data[:x.status.Actual])
}

// launch sends the driver's command to the device, unless its unit has
// pending sense data. mu must be held.
func (f *exchanges) launch(c *command) {
	s := f.stage
	unsent := c.unsent
	c.unsent, c.exchange = nil, nil
	s.ahead.change(&c.wrapper)
	if data, status, ok := s.ahead.unit(c.wrapper.unit()).pending.answer(&c.wrapper); ok {
		s.reply(c, data, status)
		for _, u := range unsent {
			f.refuse(c, u)
		}
		return
	}
	x := &exchange{wrapper: c.wrapper, out: c.collected}
	if len(c.collected) > 0 {
		x.meter = &s.cache.meter
	}
	c.exchange = x
	n := 0
	if c.wrapper.toHost() {
		n = int(c.wrapper.length())
	}
	f.post(x, n, true)
	for _, u := range unsent {
		f.send(u)
	}
}

// readAhead sends READ commands for segments. w is the driver's command that made it
// necessary. mu must be held.
func (f *exchanges) readAhead(w *wrapper, segments []*segment) {
	s := f.stage
	for _, g := range segments {
		block := w.at(g.extent)
		if block == nil {
			s.ahead.finished(g, nil, time.Now())
			continue
		}
		f.run(f.newWrapper(w.unit(), uint32(g.bytes), block), readingAhead{stage: s, segment: g})
	}
}

// newWrapper returns the wrapper of a command of the stage. mu must be held.
func (f *exchanges) newWrapper(unit uint8, length uint32, block []byte) wrapper {
	f.tag++
	w := newWrapper(firstTag+f.tag, unit, length, block)
	if length == 0 {
		w[12] = 0 // as Linux does
	}
	return w
}

// run sends a command of the stage that no driver waits for. mu must be held.
func (f *exchanges) run(w wrapper, e errand) {
	f.post(&exchange{wrapper: w, errand: e}, int(w.length()), false)
}

// post sends an exchange that fetches n bytes, or sends x.out. mu must be held.
func (f *exchanges) post(x *exchange, n int, urgent bool) {
	s := f.stage
	if x.meter == nil {
		x.meter = &s.ahead.meter
	}
	f.number++
	x.mark = guard.Mark{Urgent: urgent, Epoch: f.epoch + 1, Number: f.number}
	x.start = x.meter.start(time.Now(), f.len() == 0)
	f.list[x] = struct{}{}
	x.command = f.part(x, guard.Command, s.place.out, append([]byte(nil), x.wrapper[:]...))
	switch {
	case n > 0:
		x.data = f.part(x, guard.Data, s.place.in, f.buffer(n))
	case len(x.out) > 0:
		x.data = f.part(x, guard.Data, s.place.out, x.out)
	}
	// The buffer has room for a whole packet. So the stage receives a packet that is too
	// long for a status, and the driver sees the same overflow as without the stage.
	x.status = f.part(x, guard.Status, s.place.in, make([]byte, max(s.place.maxPacket, statusLength)))
}

// part submits a part of an exchange.
func (f *exchanges) part(x *exchange, role guard.Role, e usb.Endpoint, data []byte) *usb.URB {
	s := f.stage
	u := &usb.URB{Endpoint: e, Data: data}
	m := x.mark
	m.Role = role
	m.Set(u)
	u.Done = func(*usb.URB) { f.done(x, role, u) }
	x.left++
	s.box.Submit(u)
	return u
}

// done handles the completion of a part of an exchange.
func (f *exchanges) done(x *exchange, role guard.Role, u *usb.URB) {
	s := f.stage
	s.mu.Lock()
	x.left--
	if !s.closed {
		x.dropped = x.dropped || role == guard.Command && u.Status == usb.StatusReset
		x.hasData = x.hasData || role == guard.Data
		if x.errand == nil && s.cmd != nil && s.cmd.exchange == x {
			f.result(s.cmd, x, role, u)
		}
		f.finished(x)
	}
	s.mu.Unlock()
	s.box.Run()
}

// result handles the result of a part of the driver's command. The results of the OUT
// and of the IN endpoint may arrive in any order. mu must be held.
func (f *exchanges) result(c *command, x *exchange, role guard.Role, u *usb.URB) {
	s := f.stage
	switch {
	case !u.In() && u.Status == usb.StatusOK,
		u.Status == usb.StatusReset && u.Actual == 0: // it has not reached the device
		return
	case !u.In():
		c.stream.add(chunk{status: u.Status})
	default:
		c.stream.received(u, s.place.maxPacket, role == guard.Status)
	}
	switch {
	case u.Status != usb.StatusOK:
		f.failed(c, x, u.Status)
	case role == guard.Status:
		f.judge(c, x, u.Data[:u.Actual])
	}
	s.pump()
}

// failed handles the failure of a transfer of the driver's command, after which the
// guard drops everything else. mu must be held.
func (f *exchanges) failed(c *command, x *exchange, status usb.Status) {
	s := f.stage
	x.failure, c.ended = status, true
	f.epoch++
	s.ahead.dropAll()
}

// judge handles the status wrapper of the driver's command. mu must be held.
func (f *exchanges) judge(c *command, x *exchange, b []byte) {
	s := f.stage
	c.ended = true
	v := c.wrapper.verdict(b)
	switch v {
	case broken:
		s.turnOff("the disk broke the Bulk-Only Transport protocol")
	case failed:
		s.ahead.dropAll()
		s.cache.suspect(s.ahead.unit(c.wrapper.unit()))
	case good:
		s.cache.written(c)
	}
	if (v == good || v == short) && x.hasData && x.data.Status == usb.StatusOK {
		s.learn(&c.wrapper, x.data.Data[:x.data.Actual])
	}
	if v == good || v == short {
		s.ahead.remember(x)
	}
	if v == broken || v == failed {
		f.epoch++
	}
}

// finished handles the end of an exchange, if it has ended. mu must be held.
func (f *exchanges) finished(x *exchange) {
	s := f.stage
	if x.left > 0 {
		return
	}
	delete(f.list, x)
	if x.data != nil && x.data.Status == usb.StatusOK && x.status.Status == usb.StatusOK {
		x.meter.finish(x.start, time.Now(), x.data.Actual)
	} else if x.status.Status == usb.StatusOK && x.wrapper.length() == 0 {
		x.meter.finish(x.start, time.Now(), 0)
	}
	if x.errand != nil {
		f.errandFinished(x)
	} else if c := s.cmd; s.mode == busy && c != nil && c.exchange == x && !c.ended {
		s.turnOff("the host dropped a command without a reason")
		s.drain.begin(passing, false)
	}
	if s.mode == draining && f.len() == 0 {
		s.drain.resolve()
	}
}

// errandFinished handles the end of a command of the stage. mu must be held.
func (f *exchanges) errandFinished(x *exchange) {
	s := f.stage
	switch v := x.verdict(); {
	case v == good || v == short: // the device is ready for the next command
		x.errand.done(x, v)
	case x.dropped || s.drain.cancels:
		x.errand.unreached(x)
	default:
		s.drain.failure = x
		s.drain.begin(busy, false)
	}
	s.checkWaiting()
}

// expireLater drops old blocks in a while. mu must be held.
func (f *exchanges) expireLater(d time.Duration) {
	s := f.stage
	if s.expiry != nil {
		return
	}
	s.expiry = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.expiry = nil
		if s.closed {
			return
		}
		if next := s.ahead.expire(time.Now()); next > 0 {
			f.expireLater(next)
		}
	})
}

// dataOut sends data of the driver to the device. mu must be held.
func (f *exchanges) dataOut(u *usb.URB) {
	s := f.stage
	c := s.cmd
	c.sent += int64(len(u.Data))
	switch {
	case c.refused:
		f.refuse(c, u)
	case c.write != nil:
		s.cache.collect(c, u)
	case c.exchange == nil: // it waits for earlier writes
		c.unsent = append(c.unsent, u)
	case c.exchange.failure != usb.StatusOK:
		s.box.Finish(u, c.exchange.failure)
		s.toPassing()
	default:
		f.send(u)
	}
}

// refuse drops data of the driver for a command that has failed already. mu must be held.
func (f *exchanges) refuse(c *command, u *usb.URB) {
	s := f.stage
	u.Actual = len(u.Data)
	s.box.Finish(u, usb.StatusOK)
	if !c.wantsData() && !c.ended {
		s.replyStatus(c, c.wrapper.length(), statusFailed)
	}
}

// send sends data of the driver as a part of its exchange. mu must be held.
func (f *exchanges) send(u *usb.URB) {
	s := f.stage
	x := s.cmd.exchange
	sh := &shadow{exchange: x, urb: &usb.URB{Endpoint: u.Endpoint, Flags: u.Flags, Data: u.Data}}
	m := x.mark
	m.Role = guard.Data
	m.Set(sh.urb)
	sh.urb.Done = func(*usb.URB) { f.sent(x, u, sh) }
	x.left++
	s.passed.shadows[u] = sh
	s.box.Submit(sh.urb)
}

// sent handles the completion of data of the driver.
func (f *exchanges) sent(x *exchange, u *usb.URB, sh *shadow) {
	s := f.stage
	s.mu.Lock()
	x.left--
	delete(s.passed.shadows, u)
	c := s.cmd
	status := sh.urb.Status
	u.Actual = sh.urb.Actual
	isCurrent := !s.closed && c != nil && c.exchange == x
	unreached := !s.closed && status == usb.StatusReset && u.Actual == 0 && !sh.cancelled
	switch {
	case unreached && x.failure != usb.StatusOK:
		s.box.Finish(u, x.failure)
		if isCurrent && s.mode == busy {
			s.toPassing()
		}
	case unreached && isCurrent:
		c.unsent = append(c.unsent, u)
	case isCurrent && status != usb.StatusOK && s.mode == busy:
		f.failed(c, x, status)
		s.box.Finish(u, status)
		s.toPassing()
	default:
		s.box.Finish(u, status)
	}
	if !s.closed {
		f.finished(x)
	}
	s.mu.Unlock()
	s.box.Run()
}
