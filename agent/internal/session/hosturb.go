package session

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// urbTable is the URBs of an attachment. It is guarded by hosted.mu.
type urbTable struct {
	live   map[uint64]*hostURB    // arrived, not completed
	last   map[tunnel.Lane]uint64 // the last number of a lane: numbers rise
	parked []*hostURB             // of live: not run, because too many results are kept
	cost   int                    // of live
	held   int                    // bytes of results that are being made or wait to be acknowledged
}

// hostURB is an URB of the peer.
type hostURB struct {
	id     uint64
	lane   tunnel.Lane
	urb    usb.URB
	length int
	cost   int    // against tunnel.MaxInFlightSum
	result int    // bytes that its result is kept in
	body   []byte // of its Complete, with room for the data; nil until it runs
	parked bool
}

// deliver takes a frame of one of the attachment's lanes.
func (h *hosted) deliver(f tunnel.Frame) error {
	switch f.Kind {
	case tunnel.KindSubmit:
		m, err := tunnel.DecodeSubmit(f.Body)
		if err != nil {
			return err
		}
		return h.submit(f.Lane, m)
	case tunnel.KindCancel:
		m, err := tunnel.DecodeCancel(f.Body)
		if err != nil {
			return err
		}
		h.cancelURB(f.Lane, m.URB)
		return nil
	}
	return malformed("kind %d from a client", f.Kind)
}

// submit takes an URB and runs it, now or once there is room for its result.
func (h *hosted) submit(lane tunnel.Lane, m *tunnel.Submit) error {
	p := &hostURB{
		id: m.URB, lane: lane, length: int(m.Length), cost: m.Cost(), parked: true,
		urb: usb.URB{
			Endpoint: usb.Endpoint(lane.Endpoint()), Setup: m.Setup, Flags: usb.Flags(m.Flags),
			Interval: m.Interval, StartFrame: m.StartFrame, Data: m.Data,
		},
	}
	p.result = p.cost
	if !p.urb.In() {
		p.result -= p.length
	}
	for _, q := range m.Packets {
		p.urb.Packets = append(p.urb.Packets, usb.IsoPacket{Offset: q.Offset, Length: q.Length})
	}
	p.urb.Done = func(*usb.URB) { h.complete(p) }

	h.mu.Lock()
	if h.isOver {
		h.mu.Unlock()
		return nil
	}
	t := &h.urbs
	err := checkSubmit(m, &p.urb, h.types[p.urb.Endpoint])
	switch {
	case err != nil:
	case m.URB <= t.last[lane]:
		err = malformed("URB %d after URB %d", m.URB, t.last[lane])
	case len(t.live) >= tunnel.MaxInFlight || t.cost+p.cost > tunnel.MaxInFlightSum:
		err = malformed("more than %d URBs or %d bytes in flight", tunnel.MaxInFlight, tunnel.MaxInFlightSum)
	}
	if err != nil {
		h.mu.Unlock()
		return err
	}
	t.last[lane], t.live[p.id] = p.id, p
	t.cost += p.cost
	t.parked = append(t.parked, p)
	h.mu.Unlock()
	h.run()
	return nil
}

// run hands the device the URBs whose results there is room for, in their
// order.
func (h *hosted) run() {
	h.order.Lock()
	defer h.order.Unlock()
	for {
		p, dev := h.next()
		if p == nil {
			return
		}
		if status := p.urb.Check(); status != usb.StatusOK || p.short() {
			p.urb.Finish(usb.StatusInvalid)
			continue
		}
		dev.Submit(&p.urb)
	}
}

// next takes the next URB to run and makes room for its result.
func (h *hosted) next() (*hostURB, usb.Device) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &h.urbs
	if len(t.parked) == 0 || t.held > 0 && t.held+t.parked[0].result > tunnel.MaxInFlightSum {
		return nil, nil
	}
	p := t.parked[0]
	t.parked[0], t.parked = nil, t.parked[1:]
	t.held += p.result
	p.parked = false
	switch {
	case !p.urb.In():
		p.body, _ = tunnel.NewComplete(len(p.urb.Packets), 0)
	case len(p.urb.Packets) > 0: // its packets move together in the end
		p.urb.Data = make([]byte, p.length)
	default:
		p.body, p.urb.Data = tunnel.NewComplete(0, p.length)
	}
	return p, h.dev
}

// short reports whether a control request is for more than there is room for,
// in either direction: no kernel submits that.
func (p *hostURB) short() bool {
	return p.urb.Endpoint.Number() == 0 && int(p.urb.SetupPacket().Length) > len(p.urb.Data)
}

// complete takes a finished URB from the device.
func (h *hosted) complete(p *hostURB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isOver || h.urbs.live[p.id] != p {
		return
	}
	h.reply(p)
}

// reply sends the result of an URB. h.mu is held, so that the results of an
// endpoint keep their order.
func (h *hosted) reply(p *hostURB) {
	t := &h.urbs
	delete(t.live, p.id)
	t.cost -= p.cost
	u := &p.urb
	u.Actual = max(0, min(u.Actual, p.length))
	h.traffic.count(u.In(), u.Actual)
	h.s.push(h.group, p.lane, tunnel.KindComplete, p.encode(), p.result)
}

// encode returns the body of the Complete, without copying the data if it can.
func (p *hostURB) encode() []byte {
	u := &p.urb
	m := tunnel.Complete{
		URB: p.id, Status: int32(u.Status), Actual: uint32(u.Actual),
		StartFrame: u.StartFrame, Errors: max(0, min(u.ErrorCount, int32(len(u.Packets)))),
	}
	sum := 0
	for _, q := range u.Packets {
		r := tunnel.PacketResult{Actual: min(q.Actual, q.Length), Status: int32(q.Status)}
		if u.In() && p.body == nil {
			m.Data = append(m.Data, u.Data[q.Offset:q.Offset+r.Actual]...)
		}
		sum += int(r.Actual)
		m.Packets = append(m.Packets, r)
	}
	switch {
	case p.body == nil:
		m.Actual = uint32(sum)
		return m.Encode()
	case u.In():
		m.Data = u.Data[:u.Actual]
	}
	return m.Seal(p.body)
}

// cancelURB cancels an URB, unless it is too late.
func (h *hosted) cancelURB(lane tunnel.Lane, id uint64) {
	h.mu.Lock()
	p := h.urbs.live[id]
	if h.isOver || p == nil || p.lane != lane {
		h.mu.Unlock()
		return
	}
	if p.parked {
		h.unpark(p)
		h.mu.Unlock()
		return
	}
	dev := h.dev
	h.mu.Unlock()
	// Whoever runs it has taken it from parked, and has called Submit when it
	// lets go of order.
	h.order.Lock()
	defer h.order.Unlock()
	dev.Cancel(&p.urb)
}

// unpark completes an URB that was not run. h.mu is held.
func (h *hosted) unpark(p *hostURB) {
	t := &h.urbs
	for i, q := range t.parked {
		if q == p {
			t.parked = append(t.parked[:i], t.parked[i+1:]...)
			break
		}
	}
	p.urb.Status = usb.StatusReset
	p.urb.Data = nil
	p.result = frameCost
	t.held += p.result
	p.body, _ = tunnel.NewComplete(len(p.urb.Packets), 0)
	h.reply(p)
}

// released makes room for the results that were acknowledged.
func (h *hosted) released(cost int) {
	h.mu.Lock()
	h.urbs.held -= cost
	h.mu.Unlock()
	h.run()
}
