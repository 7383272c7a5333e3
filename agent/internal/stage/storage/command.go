package storage

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// command is the driver's command in work.
type command struct {
	wrapper  wrapper
	exchange *exchange  // with the device; nil: answered from segments, or with pending sense data
	waiting  []*segment // that hold the answer; nil if it does not come from segments
	blocks   extent     // that waiting answers
	answer   *answer    // to the command; nil: it is not known
	stream   stream     // what the driver can fetch
	ended    bool       // stream ends with the status wrapper or an error
	sent     int64      // bytes of the data phase that the driver has submitted
	unsent   []*usb.URB // data of the driver that have not reached the device
	refused  bool       // the data of the driver are dropped: the command has failed

	write     *write    // the write cache takes the data; nil: it does not
	collected []byte    // data of the driver that write had
	waits     bool      // for earlier writes
	question  *question // that answers the command; nil: the device does
}

// wantsData reports whether the command still expects data of the driver.
func (c *command) wantsData() bool {
	return !c.wrapper.toHost() && c.sent < int64(c.wrapper.length())
}

// begin begins a command. The driver learns of any error later: the verdict on a
// command is its status wrapper. mu must be held.
func (s *Stage) begin(u *usb.URB, w wrapper) {
	u.Actual = len(u.Data)
	s.box.Finish(u, usb.StatusOK)
	c := &command{wrapper: w}
	s.cmd, s.mode = c, busy
	s.commands++
	s.ahead.change(&w)
	unit := s.ahead.unit(w.unit())
	unit.meetMedium(&w)
	if k := unit.answers.find(&w, time.Now()); k != nil && unit.pending.sense == nil {
		c.answer = k
		s.hits++
		s.checkWaiting()
		return
	}
	if !s.cache.begin(c) {
		s.run(c)
	}
}

// run answers a command from what was read ahead, or sends it to the device. mu must be
// held.
func (s *Stage) run(c *command) {
	w := c.wrapper
	unit := s.ahead.unit(w.unit())
	e, ok := w.extent()
	if !ok || s.off != "" || unit.pending.sense != nil || !w.isRead() || e.count == 0 || e.end() > unit.blocks ||
		uint64(w.length()) != e.count*uint64(unit.blockSize) {
		s.exchanges.launch(c)
		if w.operation() == opInquiry && w.unit() == 0 && w[16]&1 == 0 { // not a VPD page
			s.exchanges.probe()
		}
		return
	}
	t := unit.note(e)
	unit.longest = max(unit.longest, w.length())
	s.exchanges.readAhead(&w, s.ahead.complete(unit, e))
	c.waiting, c.blocks = unit.find(e), e
	if c.waiting != nil {
		s.hits++
		s.checkWaiting()
	} else {
		s.ahead.dropIn(unit, e)
		s.exchanges.launch(c)
	}
	s.ahead.latest = latest{wrapper: w, unit: unit, track: t, read: e}
	s.exchanges.readAhead(&w, s.ahead.plan(time.Now()))
	s.exchanges.readSignatures(&w, unit, e)
	s.pump()
}

// reply answers a command without the device. mu must be held.
func (s *Stage) reply(c *command, data []byte, status byte) {
	length := c.wrapper.length()
	if !c.wrapper.toHost() && length > 0 && len(c.collected) == 0 {
		c.refused = true // the status follows the data
		return
	}
	if length > 0 {
		isShort := len(data) < int(length) || len(data)%s.place.maxPacket != 0
		c.stream.add(chunk{data: data, isShort: isShort})
	}
	s.replyStatus(c, length-uint32(len(data)), status)
}

func (s *Stage) replyStatus(c *command, residue uint32, status byte) {
	c.stream.add(chunk{data: c.wrapper.status(residue, status), isShort: true, isStatus: true})
	c.ended = true
	s.pump()
}

// checkWaiting answers the command if its segments have arrived, and sends it to the
// device if one of them never will. mu must be held.
func (s *Stage) checkWaiting() {
	c := s.cmd
	switch {
	case s.mode != busy || c == nil || c.ended:
		return
	case c.answer != nil:
		s.checkAnswer(c)
		return
	case c.waiting == nil:
		return
	}
	for _, g := range c.waiting {
		if g.data == nil && g.dropped {
			c.waiting = nil
			s.exchanges.launch(c)
			return
		}
	}
	for _, g := range c.waiting {
		if g.data == nil {
			return
		}
	}
	pieces := s.ahead.take(c.blocks, c.waiting)
	last := len(pieces) - 1
	inside := func(b []byte) bool { return len(b)%s.place.maxPacket != 0 } // ends within a packet
	if slices.ContainsFunc(pieces[:last], inside) {
		s.reply(c, slices.Concat(pieces...), statusPassed)
		return
	}
	for i, b := range pieces {
		c.stream.add(chunk{data: b, isShort: i == last && inside(b)})
	}
	s.replyStatus(c, 0, statusPassed)
}

// pump completes the IN transfers of the driver with what has arrived. mu must be
// held.
func (s *Stage) pump() {
	for s.mode == busy && len(s.ins) > 0 {
		u := s.ins[0]
		status, last, done := s.cmd.stream.fill(u, s.place.maxPacket)
		if !done {
			return
		}
		s.ins = s.ins[1:]
		s.box.Finish(u, status)
		switch {
		case last.status != usb.StatusOK:
			s.toPassing()
		case last.isStatus && s.isOff():
			s.toPassing()
		case last.isStatus:
			s.exchanges.recycle(s.cmd)
			s.cmd, s.mode = nil, idle
			s.cache.idle()
			s.resubmit()
		}
	}
}

// resubmit handles the URBs that waited for the end of a command. mu must be held.
func (s *Stage) resubmit() {
	waited := append(s.outs, s.ins...)
	s.outs, s.ins = nil, nil
	for _, u := range waited {
		s.submit(u)
	}
}

// learn reads the capacity, the type of the unit and sense data from the answer to a
// command of the driver. mu must be held.
func (s *Stage) learn(w *wrapper, data []byte) {
	unit := s.ahead.unit(w.unit())
	switch {
	case w.operation() == opInquiry && len(data) > 0 && w[16]&1 == 0: // not a VPD page
		unit.cache.isDisk = data[0] == 0 // connected, direct access block device
	case w.operation() == opRequestSense:
		s.notice(unit, data)
	case w.operation() == opReadCapacity10 && len(data) >= 8:
		last := binary.BigEndian.Uint32(data)
		if last != 1<<32-1 { // else READ CAPACITY(16) follows
			s.ahead.setCapacity(unit, uint64(last)+1, binary.BigEndian.Uint32(data[4:]))
		}
	case w.operation() == opServiceActionIn16 && w.effect() == nothing && len(data) >= 12:
		last := binary.BigEndian.Uint64(data)
		if last < 1<<62 {
			s.ahead.setCapacity(unit, last+1, binary.BigEndian.Uint32(data[8:]))
		}
	}
}
