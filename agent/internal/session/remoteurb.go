package session

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// frameCost is the cost of a frame in addition to its body, in bytes.
const frameCost = 64

// endpointSlots is the number of endpoint addresses: 16 numbers in 2 directions.
const endpointSlots = 32

// endpointSlot returns the index of a valid endpoint address. Endpoint 0 has one for both directions.
func endpointSlot(e usb.Endpoint) int {
	if e.In() && e.Number() != 0 {
		return int(e.Number()) + 16
	}
	return int(e.Number())
}

// pendingURB is an URB that was submitted to the host and has not completed there.
type pendingURB struct {
	number    uint64
	urb       *usb.URB // nil: it was completed here, cancelled and without a link
	frame     uint64   // the number of the frame with its Submit
	cost      int
	cancelled bool
}

// flow counts against the bounds of what a client may have in flight.
type flow struct {
	urbs    int // submitted and not completed
	cost    int // the sum of their costs
	unacked int // the sum of the costs of the frames that the host has not acknowledged
}

// fits reports whether an URB of that cost may be submitted.
func (f *flow) fits(cost int) bool {
	full := f.urbs >= tunnel.MaxInFlight || f.cost+cost > tunnel.MaxInFlightSum
	return !full && (f.unacked == 0 || f.unacked+cost <= tunnel.MaxInFlightSum)
}

// Submit sends u to the host. While as many URBs are in flight as the protocol allows, u waits; the caller does not.
// A control request also waits until the URBs that were cancelled without a link have ended at the host.
func (d *remoteDevice) Submit(u *usb.URB) {
	u.Begin(func(u *usb.URB) usb.Status {
		d.mu.Lock()
		defer d.mu.Unlock()
		over := d.over
		if over == usb.StatusOK && (d.waiting.Len() > 0 || !d.send(u)) {
			d.waiting.Push(u)
		}
		return over
	})
}

// sendWaiting sends the URBs that wait, in their order, while there is room. mu must be held.
func (d *remoteDevice) sendWaiting() {
	for d.waiting.Len() > 0 && d.over == 0 && d.send(*d.waiting.At(0)) {
		d.waiting.Pop()
	}
}

// send sends an URB if there is room for it. mu must be held.
func (d *remoteDevice) send(u *usb.URB) bool {
	if u.Endpoint.Number() == 0 && d.abandoned > 0 {
		// A control request may be for an endpoint whose cancelled URBs have yet to reach
		// the device and end there. They have other lanes, so it could overtake them.
		return false
	}
	m := tunnel.Submit{
		Flags: uint32(u.Flags), Interval: u.Interval, StartFrame: u.StartFrame,
		Length: uint32(len(u.Data)), Packets: d.packets[:0],
	}
	if u.Endpoint.Number() == 0 {
		m.Setup = u.Setup
	}
	for _, p := range u.Packets {
		m.Packets = append(m.Packets, tunnel.Packet{Offset: p.Offset, Length: p.Length})
	}
	d.packets = m.Packets
	if !u.In() {
		m.Data = u.Data
	}
	cost := m.Cost()
	if !d.flow.fits(cost) {
		return false
	}
	e := &d.endpoints[endpointSlot(u.Endpoint)]
	if e.lane == nil {
		d.group.Allow(uint8(u.Endpoint)) // for the completions
		e.lane = d.group.Lane(uint8(u.Endpoint), d.classes[endpointSlot(u.Endpoint)])
	}
	m.URB = d.session.urbs.Add(1)
	body := m.Append(d.session.transport.NewBody(m.Size())[:0])
	p := pendingURB{number: m.URB, urb: u, cost: cost}
	p.frame = d.push(e, tunnel.KindSubmit, body)
	e.pending.Push(p)
	d.flow.urbs++
	d.flow.cost += cost
	return true
}

// push sends a frame. If the lane is closed, the device has ended and is about to complete its URBs. mu must be held.
func (d *remoteDevice) push(e *remoteEndpoint, kind tunnel.Kind, body []byte) (number uint64) {
	cost := len(body) + frameCost
	number, ok := e.lane.Push(kind, body, cost)
	if ok {
		d.flow.unacked += cost
	}
	return number
}

// Cancel asks the host to end u early. While no link is up, u completes at once, and its result is dropped when it
// arrives.
func (d *remoteDevice) Cancel(u *usb.URB) {
	if d.cancel(u) {
		u.Finish(usb.StatusReset)
	}
}

// cancel asks the host to end u early, and reports whether u completes at once.
func (d *remoteDevice) cancel(u *usb.URB) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.waiting.Len() {
		if *d.waiting.At(i) == u {
			d.waiting.Delete(i)
			return true
		}
	}
	e, p := d.findURB(u)
	if p == nil || p.cancelled {
		return false
	}
	p.cancelled = true
	d.push(e, tunnel.KindCancel, tunnel.Cancel{URB: p.number}.Encode())
	if d.session.Linked() {
		return false // if the link is lost now, abandonCancelled completes u
	}
	p.urb = nil
	d.abandoned++
	return true
}

// findURB returns the endpoint and the submission of u, or nil. mu must be held.
func (d *remoteDevice) findURB(u *usb.URB) (*remoteEndpoint, *pendingURB) {
	for i := range d.endpoints {
		e := &d.endpoints[i]
		for j := range e.pending.Len() {
			if p := e.pending.At(j); p.urb == u {
				return e, p
			}
		}
	}
	return nil, nil
}

// find returns the index of the submission of an URB, or -1. Completions mostly come in the order of submission.
func (e *remoteEndpoint) find(number uint64) int {
	for i := range e.pending.Len() {
		if e.pending.At(i).number == number {
			return i
		}
	}
	return -1
}

// Acknowledged makes room for further URBs.
func (d *remoteDevice) Acknowledged(_ tunnel.Lane, _ uint64, cost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flow.unacked -= cost
	d.sendWaiting()
}

// Deliver handles a frame of one of the device's lanes.
func (d *remoteDevice) Deliver(f tunnel.Frame) error {
	if f.Kind.Lossy() {
		d.streams.receive(f)
		return nil
	}
	if f.Kind != tunnel.KindComplete {
		return malformed("kind %d from a host", f.Kind)
	}
	m, err := tunnel.DecodeComplete(f.Body)
	if err != nil {
		return err
	}
	u, err := d.complete(f.Lane, &m)
	if err != nil {
		return err // the URB completes when the attachment ends
	}
	if u != nil {
		finish(u, &m)
	}
	tunnel.FreeBody(f.Body)
	return nil
}

// complete removes the submission that a completion is for, and returns its URB. It returns nil if the URB was
// completed before. The completion implies that the Submit has arrived.
func (d *remoteDevice) complete(lane tunnel.Lane, m *tunnel.Complete) (*usb.URB, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over != 0 {
		return nil, nil
	}
	e := &d.endpoints[endpointSlot(usb.Endpoint(lane.Endpoint()))]
	i := e.find(m.URB)
	if i < 0 {
		return nil, malformed("the completion of URB %d, which is not pending", m.URB)
	}
	p := *e.pending.At(i)
	if p.urb == nil {
		d.abandoned--
	} else {
		if err := checkComplete(m, p.urb); err != nil {
			return nil, err
		}
		d.traffic.count(p.urb.In(), int(m.Actual))
	}
	e.pending.Delete(i)
	d.flow.urbs--
	d.flow.cost -= p.cost
	d.flow.unacked -= e.lane.Acknowledge(p.frame + 1)
	d.sendWaiting()
	return p.urb, nil
}
