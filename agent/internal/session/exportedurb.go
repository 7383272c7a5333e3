package session

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Deliver handles a frame of one of the attachment's lanes.
func (x *exportedAttachment) Deliver(f tunnel.Frame) error {
	switch f.Kind {
	case tunnel.KindShard, tunnel.KindIsoReport:
		x.streams.receive(f)
		return nil
	case tunnel.KindSubmit:
		m, err := tunnel.DecodeSubmit(f.Body)
		if err != nil {
			return err
		}
		return x.submit(f, &m)
	case tunnel.KindCancel:
		m, err := tunnel.DecodeCancel(f.Body)
		if err != nil {
			return err
		}
		x.cancelURB(usb.Endpoint(f.Lane.Endpoint()), m.URB)
		return nil
	}
	return malformed("kind %d from a client", f.Kind)
}

// submit accepts an URB and runs it, now or once there is room for its result.
func (x *exportedAttachment) submit(f tunnel.Frame, m *tunnel.Submit) error {
	x.mu.Lock()
	if x.isOver {
		x.mu.Unlock()
		return nil
	}
	endpoint := usb.Endpoint(f.Lane.Endpoint())
	e := &x.urbs.endpoints[endpointSlot(endpoint)]
	p := x.urbs.reuse()
	if p == nil {
		p = x.newURB()
	}
	p.fill(endpoint, e, m)
	err := checkSubmit(m, &p.urb, e.types)
	if err == nil {
		err = x.urbs.admit(e, m, p)
	}
	if err != nil {
		x.mu.Unlock()
		return err
	}
	if e.lane == nil {
		e.lane = x.group.Lane(uint8(endpoint), e.class)
	}
	if len(m.Data) > 0 {
		p.submit = f.Body
	}
	x.mu.Unlock()
	if len(m.Data) == 0 {
		tunnel.FreeBody(f.Body)
	}
	x.run()
	return nil
}

func (x *exportedAttachment) newURB() *exportedURB {
	p := &exportedURB{}
	p.urb.Done = func(*usb.URB) { x.complete(p) }
	return p
}

// fill makes p the URB of a Submit.
func (p *exportedURB) fill(endpoint usb.Endpoint, e *exportedEndpoint, m *tunnel.Submit) {
	p.number, p.endpoint = m.URB, e
	p.length, p.cost = int(m.Length), m.Cost()
	p.urb.Endpoint, p.urb.Setup, p.urb.Flags = endpoint, m.Setup, usb.Flags(m.Flags)
	p.urb.Interval, p.urb.StartFrame, p.urb.Data = m.Interval, m.StartFrame, m.Data
	for _, q := range m.Packets {
		p.urb.Packets = append(p.urb.Packets, usb.IsoPacket{Offset: q.Offset, Length: q.Length})
	}
	p.result = p.cost
	if !p.urb.In() {
		p.result -= p.length
	}
}

// run hands the device the URBs whose results there is room for, in their order.
func (x *exportedAttachment) run() {
	x.order.Lock()
	defer x.order.Unlock()
	for more := true; more; {
		var p *exportedURB
		x.mu.Lock()
		p, more = x.urbs.unpark()
		dev := x.dev
		x.mu.Unlock()
		if p == nil {
			return
		}
		x.makeRoom(p)
		if status := p.urb.Check(); status != usb.StatusOK || p.isShort() {
			p.urb.Finish(usb.StatusInvalid)
			continue
		}
		dev.Submit(&p.urb)
	}
}

// makeRoom allocates the memory for the result of an URB. The memory may hold parts of earlier results for the same
// peer; no more than the Actual bytes that the device reports are sent.
func (x *exportedAttachment) makeRoom(p *exportedURB) {
	t := x.session.transport
	switch packets := len(p.urb.Packets); {
	case !p.urb.In():
		p.body = t.NewBody(tunnel.CompleteSize(packets, 0))
	case packets > 0: // the data of the packets move together at the end
		p.urb.Data = make([]byte, p.length)
	default:
		p.body = t.NewBody(tunnel.CompleteSize(0, p.length))
		p.urb.Data = tunnel.CompleteData(p.body, 0)
	}
}

// isShort reports whether a control request is for more data than there is room for, in either direction. No kernel
// submits such a request.
func (p *exportedURB) isShort() bool {
	return p.urb.Endpoint.Number() == 0 && int(p.urb.SetupPacket().Length) > len(p.urb.Data)
}

// complete sends the result of an URB that the device has finished.
func (x *exportedAttachment) complete(p *exportedURB) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.isOver && p.isLive {
		x.reply(p)
	}
}

// reply sends the result of an URB. mu must be held, so that the results of an endpoint keep their order.
func (x *exportedAttachment) reply(p *exportedURB) {
	x.urbs.remove(p)
	u := &p.urb
	u.Actual = max(0, min(u.Actual, p.length))
	x.traffic.count(u.In(), u.Actual)
	p.endpoint.lane.Push(tunnel.KindComplete, p.encode(), p.result)
	if u.Status == usb.StatusOK {
		// The device has taken the data of an OUT. After an error, a writer of its backend may still read them.
		tunnel.FreeBody(p.submit)
	}
	x.urbs.recycle(p)
}

// encode returns the body of the Complete, without copying the data if it can.
func (p *exportedURB) encode() []byte {
	u := &p.urb
	m := tunnel.Complete{
		URB: p.number, Status: int32(u.Status), Actual: uint32(u.Actual),
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

// cancelURB cancels an URB, unless it has completed. It holds order, so that the device has every URB that is not
// parked.
func (x *exportedAttachment) cancelURB(endpoint usb.Endpoint, number uint64) {
	x.order.Lock()
	defer x.order.Unlock()
	x.mu.Lock()
	p := x.urbs.endpoints[endpointSlot(endpoint)].find(number)
	if x.isOver || p == nil {
		x.mu.Unlock()
		return
	}
	if p.isParked {
		x.replyCancelled(p)
		x.mu.Unlock()
		return
	}
	x.urbs.cancelling = p
	dev := x.dev
	x.mu.Unlock()
	dev.Cancel(&p.urb)
	x.mu.Lock()
	x.urbs.cancelling = nil
	x.mu.Unlock()
}

// replyCancelled completes an URB that has not run. mu must be held.
func (x *exportedAttachment) replyCancelled(p *exportedURB) {
	t := &x.urbs
	for i := range t.parked.Len() {
		if *t.parked.At(i) == p {
			t.parked.Delete(i)
			break
		}
	}
	p.urb.Status = usb.StatusReset
	p.urb.Data = nil
	p.result = frameCost
	t.held += p.result
	p.body = x.session.transport.NewBody(tunnel.CompleteSize(len(p.urb.Packets), 0))
	x.reply(p)
}

// Acknowledged makes room for the results of further URBs.
func (x *exportedAttachment) Acknowledged(_ tunnel.Lane, _ uint64, cost int) {
	x.mu.Lock()
	x.urbs.held -= cost
	waiting := x.urbs.parked.Len() > 0
	x.mu.Unlock()
	if waiting {
		x.run()
	}
}
