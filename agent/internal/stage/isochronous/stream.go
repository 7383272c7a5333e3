package isochronous

import (
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/counts"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	reportInterval = 50 * time.Millisecond  // from each side, for each stream
	silenceTimeout = time.Second            // without anything from the other side, which ends a stream
	idleTimeout    = 200 * time.Millisecond // without an URB of the driver, which ends a stream
)

// stream is the client's half of a stream:
//
//	         URB                     first data (IN), at once (OUT)
//	(none) ─────► waiting for data ──────────────────────────────► running
//	   ▲                 │                                            │
//	   └─────────────────┴── SET_INTERFACE, reset, no URBs, closed ───┘
//
// The mu of the stage guards it.
type stream struct {
	stage    *Stage
	endpoint usb.Endpoint
	interval uint32 // in microframes
	timer    *time.Timer

	number   uint32 // changes when the host has lost the stream
	began    time.Time
	room     uint32 // bytes of the longest packet that the driver has submitted
	reported time.Time
	heard    time.Time // of the last frame from the host

	clock   clock
	running bool      // the clock runs
	queue   []slotURB // URBs of the driver
	next    uint64    // slot after the last one in queue
	idle    time.Time
	reader  reader // of an IN
	writer  *writer

	urbs int64 // completed
	work counts.Counts
}

// slotURB is an URB with the slots of its packets.
type slotURB struct {
	urb   *usb.URB
	first uint64
	sent  bool // of an OUT: the host gets its data
}

func (p slotURB) end() uint64 { return p.first + uint64(len(p.urb.Packets)) }

// begin begins the exchange with the host, also again.
func (st *stream) begin() {
	s, now := st.stage, time.Now()
	st.count(&s.work)
	st.work = counts.Counts{}
	s.last++
	st.number, st.began, st.heard = s.last, now, now
	st.reader = reader{position: st.reader.position}
	st.clock.seen = newExtremes(depthPeriod)
	if !st.endpoint.In() {
		st.writer = newWriter(st)
		st.clock.seen = newExtremes(pacePeriod)
	}
	st.reported = time.Time{}
}

// end ends the stream and completes its URBs.
func (st *stream) end(status usb.Status) {
	s := st.stage
	delete(s.streams, st.endpoint)
	st.timer.Stop()
	st.count(&s.work)
	for _, p := range st.queue {
		st.finishUnused(p.urb, status)
	}
	st.queue = nil
	if st.writer != nil {
		st.writer.sender.flush()
	}
	r := tunnel.IsoReport{Stream: st.number, Stop: true}
	for range 2 { // one may be lost; if both are, the host notices the silence
		s.cast(uint8(st.endpoint), tunnel.KindIsoReport, r.Encode())
	}
}

// finishUnused completes an URB none of whose packets took place.
func (st *stream) finishUnused(u *usb.URB, status usb.Status) {
	for i := range u.Packets {
		u.Packets[i].Actual, u.Packets[i].Status = 0, usb.StatusCrossLink
	}
	u.Actual, u.ErrorCount = 0, int32(len(u.Packets))
	st.stage.box.Finish(u, status)
}

// submit places an URB of the driver behind the others.
func (st *stream) submit(u *usb.URB, room uint32, now time.Time) {
	if len(st.queue) >= usb.MaxPending {
		st.stage.box.Finish(u, usb.StatusNoMemory)
		return
	}
	if room > st.room {
		st.room = room
		if st.endpoint.In() && !st.reported.IsZero() {
			st.begin() // the host's buffers are too small
		}
	}
	if !st.endpoint.In() && !st.running {
		st.run(now)
	}
	if st.running {
		st.next = max(st.next, st.clock.next(now))
	}
	p := slotURB{urb: u, first: st.next}
	st.next = p.end()
	st.queue = append(st.queue, p)
	st.idle = time.Time{}
	if st.reported.IsZero() {
		st.report(now)
		st.report(now) // one may be lost
	}
	if next, ok := st.due(now); ok {
		st.timer.Reset(time.Until(next))
	}
}

// run starts the clock with the slot that was placed first.
func (st *stream) run(now time.Time) {
	st.running = true
	lead := st.clock.offset(st.reader.position, now)
	st.clock.lead, st.clock.steered = lead, now
}

// cancel completes an URB of the driver early. It returns false if the stream does not
// have it.
func (st *stream) cancel(u *usb.URB) bool {
	i := slices.IndexFunc(st.queue, func(p slotURB) bool { return p.urb == u })
	if i < 0 {
		return false
	}
	st.queue = slices.Delete(st.queue, i, i+1)
	st.finishUnused(u, usb.StatusReset)
	return true
}

// advance does what is due, and returns when to call it again. It returns false if the
// stream has ended.
func (st *stream) advance(now time.Time) (next time.Time, ok bool) {
	if now.Sub(st.heard) >= silenceTimeout {
		st.begin()
		if !st.running {
			st.run(now) // the driver sees packets that were lost, and not a device that hangs
		}
	}
	for st.running && len(st.queue) > 0 && !now.Before(st.clock.due(st.queue[0].end())) {
		p := st.queue[0]
		if st.writer != nil && !p.sent {
			st.writer.write(p)
		}
		st.queue = st.queue[1:]
		st.complete(p)
	}
	if len(st.queue) == 0 {
		if st.idle.IsZero() {
			st.idle = now
		}
		if now.Sub(st.idle) >= idleTimeout {
			st.end(usb.StatusShutdown)
			return time.Time{}, false
		}
	}
	if now.Sub(st.reported) >= reportInterval {
		st.report(now)
	}
	next = st.reported.Add(reportInterval)
	if due, ok := st.due(now); ok && due.Before(next) {
		next = due
	}
	return next, true
}

// due sends the packets of an OUT whose time has come. It returns when the next URB has to
// be completed or sent. It returns false if no URB waits.
func (st *stream) due(now time.Time) (at time.Time, ok bool) {
	if !st.running || len(st.queue) == 0 {
		return at, false
	}
	at = st.clock.due(st.queue[0].end())
	if st.writer == nil {
		return at, true
	}
	for i := range st.queue {
		p := &st.queue[i]
		if p.sent {
			continue
		}
		if send := st.clock.due(p.first).Add(-sendAhead); send.After(now) {
			if send.Before(at) {
				at = send
			}
			break
		}
		p.sent = true
		st.writer.write(*p)
	}
	return at, true
}

// complete completes an URB whose packets are over.
func (st *stream) complete(p slotURB) {
	u := p.urb
	if r := &st.reader; p.first > r.position { // the driver submitted it late
		st.work.Discarded += r.packets.drop(p.first)
	}
	u.Actual, u.ErrorCount = 0, 0
	u.StartFrame = int32(p.first * uint64(st.interval) / st.stage.frameLength() & 0x3fff)
	for i := range u.Packets {
		q := &u.Packets[i]
		q.Actual, q.Status = q.Length, usb.StatusOK
		if st.endpoint.In() {
			st.read(u, q, p.first+uint64(i))
		}
		if q.Status != usb.StatusOK {
			u.ErrorCount++
		}
		u.Actual += int(q.Actual)
	}
	st.reader.position = p.end()
	st.urbs++
	st.stage.box.Finish(u, usb.StatusOK)
}

// frameLength returns the number of microframes in the units of URB.StartFrame.
func (s *Stage) frameLength() uint64 {
	if s.layout.speed < usb.SpeedHigh {
		return 8
	}
	return 1
}

// report sends a report to the host. It also starts the stream there.
func (st *stream) report(now time.Time) {
	st.reported = now
	r := tunnel.IsoReport{Stream: st.number, Room: st.room, Interval: st.interval, Loss: share(st.reader.blocks.loss)}
	st.stage.cast(uint8(st.endpoint), tunnel.KindIsoReport, r.Encode())
}

// share returns a share from 0 to 1 in the form of tunnel.IsoReport.
func share(loss float64) uint16 { return uint16(min(max(loss, 0), 1) * 0xffff) }

// handle handles a report of the host.
func (st *stream) handle(r tunnel.IsoReport, now time.Time) {
	st.heard = now
	switch {
	case r.Stop && r.Refuse:
		st.pass()
	case r.Stop:
		st.begin() // the host has lost the stream
	case st.writer != nil:
		st.writer.follow(r, now)
	}
}

// pass hands the URBs of the driver to the device, so that the driver sees why the device
// refuses them.
func (st *stream) pass() {
	s := st.stage
	s.refused[st.endpoint] = true
	urbs := st.queue
	st.queue = nil
	st.end(usb.StatusShutdown)
	for _, p := range urbs {
		s.box.Submit(p.urb)
	}
}

// count adds the work of the stream.
func (st *stream) count(c *counts.Counts) {
	c.Commands += st.urbs
	c.Late += st.work.Late
	c.Lost += max(0, st.work.Lost-st.work.Late)
	c.Recovered += st.work.Recovered + st.reader.blocks.recovered
	c.Ahead += st.work.Ahead
	c.Discarded += st.work.Discarded
}
