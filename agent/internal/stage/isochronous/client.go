package isochronous

import (
	"maps"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/counts"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// remote is a device whose host exchanges lossy frames with this agent.
type remote interface {
	// Isochronous takes the function that handles the lossy frames of the host, and
	// returns the one that sends some. It returns false if the host understands none.
	Isochronous(receive func(tunnel.Frame)) (cast func(uint8, tunnel.Kind, ...[]byte), ok bool)
}

// Stage is the client's half: it is the host controller that the driver sees.
type Stage struct {
	usb.Device
	box  *outbox.Outbox
	cast cast

	mu      sync.Mutex // guards the fields below
	closed  bool
	layout  layout
	last    uint32 // number of the last stream
	streams map[usb.Endpoint]*stream
	refused map[usb.Endpoint]bool // the device refuses streams: URBs pass unchanged
	work    counts.Counts         // of streams that have ended
}

// New returns dev with the stage. It returns nil and the reason if the stage does not
// fit the device.
func New(dev usb.Device) (s *Stage, reason string) {
	s = &Stage{
		Device: dev, box: outbox.New(dev), layout: newLayout(dev.Info()),
		streams: map[usb.Endpoint]*stream{}, refused: map[usb.Endpoint]bool{},
	}
	r, ok := dev.(remote)
	if ok {
		s.cast, ok = r.Isochronous(s.receive)
	}
	if !ok {
		return nil, "the other machine's agent does not support it: upgrade it"
	}
	return s, ""
}

// Stats returns what the stage has done. It is never off.
func (s *Stage) Stats() (off string, work counts.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	work = s.work
	for _, st := range s.streams {
		st.count(&work)
	}
	return "", work
}

// Submit implements [usb.Device].
func (s *Stage) Submit(u *usb.URB) { u.Begin(s.enqueue) }

// enqueue accepts an URB of the driver.
func (s *Stage) enqueue(u *usb.URB) usb.Status {
	s.mu.Lock()
	s.submit(u)
	s.mu.Unlock()
	s.box.Run()
	return usb.StatusOK
}

// submit handles an URB of the driver. mu must be held.
func (s *Stage) submit(u *usb.URB) {
	if u.Endpoint.Number() == 0 {
		s.control(u.SetupPacket())
		s.box.Submit(u)
		return
	}
	interval, ok := s.layout.interval(u.Endpoint)
	room := longest(u)
	if !ok || len(u.Packets) == 0 || room > tunnel.MaxIsoRoom || s.refused[u.Endpoint] || s.closed {
		s.box.Submit(u)
		return
	}
	st := s.streams[u.Endpoint]
	if st == nil {
		st = s.open(u.Endpoint, interval)
	}
	st.submit(u, room, time.Now())
}

// longest returns the length of the longest packet of an URB.
func longest(u *usb.URB) uint32 {
	n := uint32(0)
	for _, p := range u.Packets {
		n = max(n, p.Length)
	}
	return n
}

// control ends the streams that a control request ends. As in Linux, their URBs complete
// with StatusShutdown. mu must be held.
func (s *Stage) control(setup usb.Setup) {
	ended, all := s.layout.ends(setup)
	s.layout.change(setup)
	for e, st := range s.streams {
		if all || ended[e] {
			st.end(usb.StatusShutdown)
		}
	}
	maps.DeleteFunc(s.refused, func(e usb.Endpoint, _ bool) bool { return all || ended[e] })
}

// open begins a stream. mu must be held.
func (s *Stage) open(e usb.Endpoint, interval uint32) *stream {
	st := &stream{stage: s, endpoint: e, interval: interval}
	st.clock = newClock(time.Duration(interval)*microframe, time.Now())
	s.streams[e] = st
	st.begin()
	st.timer = time.AfterFunc(reportInterval, func() { s.tick(st) })
	return st
}

// tick does what is due for a stream.
func (s *Stage) tick(st *stream) {
	s.mu.Lock()
	if s.streams[st.endpoint] == st {
		select {
		case <-s.Gone():
			st.end(usb.StatusNoDevice)
		default:
			if next, ok := st.advance(time.Now()); ok {
				st.timer.Reset(time.Until(next))
			}
		}
	}
	s.mu.Unlock()
	s.box.Run()
}

// receive handles a lossy frame of the host.
func (s *Stage) receive(f tunnel.Frame) {
	s.mu.Lock()
	st := s.streams[usb.Endpoint(f.Lane.Endpoint())]
	if st != nil && !s.closed {
		switch f.Kind {
		case tunnel.KindShard:
			if shard, err := tunnel.DecodeShard(f.Body); err == nil && shard.Stream == st.number && st.endpoint.In() {
				st.arrive(shard, time.Now())
			}
		case tunnel.KindIsoReport:
			if r, err := tunnel.DecodeIsoReport(f.Body); err == nil && r.Stream == st.number {
				st.handle(r, time.Now())
			}
		}
	}
	s.mu.Unlock()
	s.box.Run()
}

// Cancel implements [usb.Device].
func (s *Stage) Cancel(u *usb.URB) {
	s.mu.Lock()
	if st := s.streams[u.Endpoint]; st == nil || !st.cancel(u) {
		s.box.Cancel(u)
	}
	s.mu.Unlock()
	s.box.Run()
}

// Close implements [usb.Device].
func (s *Stage) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, st := range s.streams {
		st.end(usb.StatusShutdown)
	}
	s.mu.Unlock()
	s.box.Drain()
	err := s.Device.Close()
	s.box.Drain()
	return err
}
