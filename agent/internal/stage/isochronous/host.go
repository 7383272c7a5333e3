package isochronous

import (
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Host is the host's half: it lets the isochronous endpoints of a device run by
// themselves. All other URBs pass.
type Host struct {
	usb.Device
	box *outbox.Outbox

	mu      sync.Mutex // guards the fields below
	cast    cast       // nil: the client does not exchange lossy frames
	closed  bool
	layout  layout
	streams map[usb.Endpoint]*hostStream
	ended   map[usb.Endpoint]streamEnd // the last stream that has ended
	early   []early                    // shards that have overtaken the report that begins their stream
	held    []*usb.URB                 // control requests that wait until a stream is drained
}

// maxEarly is the number of shards that a Host keeps in early.
const maxEarly = 256

// early is a shard that came before its stream began.
type early struct {
	endpoint usb.Endpoint
	shard    tunnel.Shard
}

// streamEnd is a stream that has ended.
type streamEnd struct {
	number  uint32
	refused bool // by the device
}

// NewHost returns dev with the host's half of the stage. The caller closes the result
// instead of dev.
func NewHost(dev usb.Device) *Host {
	return &Host{
		Device: dev, box: outbox.New(dev), layout: newLayout(dev.Info()),
		streams: map[usb.Endpoint]*hostStream{}, ended: map[usb.Endpoint]streamEnd{},
	}
}

// Guarded implements the interface by which a session finds out that the device has a
// guard: that of the device below.
func (h *Host) Guarded() bool {
	g, ok := h.Device.(interface{ Guarded() bool })
	return ok && g.Guarded()
}

// Isochronous implements the interface by which a session connects the device with the
// client.
func (h *Host) Isochronous(cast func(uint8, tunnel.Kind, ...[]byte)) (receive func(tunnel.Frame)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cast = cast
	return h.receive
}

// receive handles a lossy frame of the client.
func (h *Host) receive(f tunnel.Frame) {
	e := usb.Endpoint(f.Lane.Endpoint())
	h.mu.Lock()
	if !h.closed {
		switch f.Kind {
		case tunnel.KindIsoReport:
			if r, err := tunnel.DecodeIsoReport(f.Body); err == nil {
				h.handle(e, r)
			}
		case tunnel.KindShard:
			if s, err := tunnel.DecodeShard(f.Body); err == nil && !e.In() {
				h.arrive(e, s)
			}
		}
	}
	h.mu.Unlock()
	h.box.Run()
}

// arrive handles a shard for an OUT. mu must be held.
func (h *Host) arrive(e usb.Endpoint, s tunnel.Shard) {
	switch st := h.streams[e]; {
	case st != nil && st.number == s.Stream:
		st.arrive(s)
	case (st == nil || st.number < s.Stream) && h.ended[e].number < s.Stream && len(h.early) < maxEarly:
		h.early = append(h.early, early{e, s})
	}
}

// handle handles a report of the client. mu must be held.
func (h *Host) handle(e usb.Endpoint, r tunnel.IsoReport) {
	st := h.streams[e]
	if last, ok := h.ended[e]; ok && r.Stream <= last.number {
		if !r.Stop && r.Stream == last.number {
			h.sayEnded(e, last)
		}
		return
	}
	if st != nil && r.Stream < st.number {
		return // overtaken by a later one
	}
	if st != nil && r.Stop && r.Stream == st.number {
		st.stop()
		return
	}
	if st != nil && r.Stream > st.number {
		st.end(streamEnd{number: st.number})
		st = nil
	}
	if r.Stop {
		h.ended[e] = streamEnd{number: r.Stream}
		return
	}
	if st != nil && st.draining {
		return // overtaken by its end
	}
	if st == nil {
		if _, ok := h.layout.interval(e); !ok || r.Interval == 0 {
			h.ended[e] = streamEnd{number: r.Stream, refused: true}
			h.sayEnded(e, h.ended[e])
			return
		}
		st = h.begin(e, r)
		waiting := h.early
		h.early = nil
		for _, w := range waiting {
			h.arrive(w.endpoint, w.shard)
		}
	}
	st.silence.Reset(silenceTimeout)
	if st.sender != nil {
		st.sender.encoder.loss = float64(r.Loss) / 0xffff
	}
}

// sayEnded tells the client that a stream has ended.
func (h *Host) sayEnded(e usb.Endpoint, x streamEnd) {
	r := tunnel.IsoReport{Stream: x.number, Stop: true, Refuse: x.refused}
	h.cast(uint8(e), tunnel.KindIsoReport, r.Encode())
}

// Submit implements [usb.Device].
func (h *Host) Submit(u *usb.URB) {
	if u.Endpoint.Number() != 0 {
		h.Device.Submit(u)
		return
	}
	h.mu.Lock()
	h.held = append(h.held, u)
	h.control()
	h.mu.Unlock()
	h.box.Run()
}

// control passes the control requests that need not wait, in their order. A request that
// ends a stream to the device waits until the device has played what the driver has
// written: the driver believes that it has. mu must be held.
func (h *Host) control() {
	for len(h.held) > 0 {
		u := h.held[0]
		setup := u.SetupPacket()
		ended, all := h.layout.ends(setup)
		waits := false
		for e, st := range h.streams {
			switch {
			case all:
				st.end(streamEnd{number: st.number})
			case ended[e]:
				st.stop()
				waits = waits || st.draining
			}
		}
		if waits {
			return
		}
		h.layout.change(setup)
		h.held = h.held[1:]
		h.box.Submit(u)
	}
}

// Cancel implements [usb.Device].
func (h *Host) Cancel(u *usb.URB) {
	h.mu.Lock()
	if i := slices.Index(h.held, u); i >= 0 {
		h.held = slices.Delete(h.held, i, i+1)
		u.Actual = 0
		h.box.Finish(u, usb.StatusReset)
		h.control()
	} else {
		h.box.Cancel(u)
	}
	h.mu.Unlock()
	h.box.Run()
}

// Close implements [usb.Device].
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	for _, u := range h.held {
		u.Actual = 0
		h.box.Finish(u, usb.StatusShutdown)
	}
	h.held = nil
	for _, st := range h.streams {
		st.end(streamEnd{number: st.number})
	}
	h.mu.Unlock()
	h.box.Drain()
	err := h.Device.Close()
	h.box.Drain()
	return err
}

// timeOut ends a stream whose client is silent.
func (h *Host) timeOut(st *hostStream) {
	h.mu.Lock()
	if h.streams[st.endpoint] == st {
		st.end(streamEnd{number: st.number})
		h.control()
	}
	h.mu.Unlock()
	h.box.Run()
}

// done handles the completion of an URB of a stream.
func (h *Host) done(st *hostStream, u *usb.URB) {
	h.mu.Lock()
	if h.streams[st.endpoint] == st {
		st.completed(u, time.Now())
		h.control()
	}
	h.mu.Unlock()
	h.box.Run()
}
