package session

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// closeTime is how long Close waits for the host to have the device back.
const closeTime = 5 * time.Second

// far is a device of the peer.
type far struct {
	// Static after construction.
	s        *Session
	device   string        // its id on its host
	group    *group        // its lanes
	control  *group        // lane 1 of the state it belongs to
	answered chan struct{} // closed once the host has attached it
	gone     chan struct{} // closed once it is over for this end
	detached chan struct{} // closed once the host has said its last word, or never will

	// Guarded by Session.mu until answered is closed, static then.
	info  usb.Info
	since time.Time

	mu sync.Mutex
	// Guarded by mu.
	waiting   []*usb.URB // submitted here, not sent: too many are in flight
	pending   map[uint64]*farURB
	byURB     map[*usb.URB]*farURB
	cost      int // of pending
	unacked   int // cost of what was sent and is not acknowledged
	traffic   traffic
	over      usb.Status // of every URB once it is over; 0 before
	why       error
	forgotten bool
}

// farURB is an URB that the host has, or will have.
type farURB struct {
	id        uint64
	urb       *usb.URB // nil once it was completed here, cancelled and without a link
	lane      tunnel.Lane
	seq       uint64 // of its Submit
	cost      int
	cancelled bool
}

// Info returns what the host said when it attached the device.
func (d *far) Info() usb.Info { return d.info }

// Gone is closed when the device is over: detached, unplugged, or the session
// was reset.
func (d *far) Gone() <-chan struct{} { return d.gone }

// Submit sends u to the host. It waits its turn, without blocking the caller,
// while as many are in flight as the protocol allows.
func (d *far) Submit(u *usb.URB) {
	if status := u.Check(); status != usb.StatusOK {
		u.Finish(status)
		return
	}
	d.mu.Lock()
	if status := d.over; status != 0 {
		d.mu.Unlock()
		u.Finish(status)
		return
	}
	d.waiting = append(d.waiting, u)
	d.admit()
	d.mu.Unlock()
}

// admit sends URBs that wait, in their order, while there is room. d.mu is held.
func (d *far) admit() {
	for len(d.waiting) > 0 && d.over == 0 {
		u := d.waiting[0]
		m := d.submission(u)
		cost := m.Cost()
		full := len(d.pending) >= tunnel.MaxInFlight || d.cost+cost > tunnel.MaxInFlightSum
		if full || d.unacked > 0 && d.unacked+cost > tunnel.MaxInFlightSum {
			return
		}
		d.waiting[0], d.waiting = nil, d.waiting[1:]
		m.URB = d.s.urbs.Add(1)
		p := &farURB{id: m.URB, urb: u, lane: tunnel.EndpointLane(d.group.attachment, uint8(u.Endpoint)), cost: cost}
		d.pending[p.id], d.byURB[u] = p, p
		d.cost += cost
		d.send(p, tunnel.KindSubmit, m.Encode())
	}
}

// submission describes u, but for its number.
func (d *far) submission(u *usb.URB) *tunnel.Submit {
	m := &tunnel.Submit{
		Flags: uint32(u.Flags), Interval: u.Interval, StartFrame: u.StartFrame,
		Length: uint32(len(u.Data)),
	}
	if u.Endpoint.Number() == 0 {
		m.Setup = u.Setup
	}
	for _, p := range u.Packets {
		m.Packets = append(m.Packets, tunnel.Packet{Offset: p.Offset, Length: p.Length})
	}
	if !u.In() {
		m.Data = u.Data
	}
	return m
}

// send puts a frame about p on its lane. d.mu is held.
func (d *far) send(p *farURB, kind tunnel.Kind, body []byte) {
	cost := len(body) + frameCost
	seq, ok := d.s.pushURB(d.group, p.lane, kind, body, cost)
	if !ok {
		return // it is over, and about to hear of it
	}
	if kind == tunnel.KindSubmit {
		p.seq = seq
	}
	d.unacked += cost
}

// pushURB is push for a client, which expects completions on that lane then.
func (s *Session) pushURB(g *group, lane tunnel.Lane, kind tunnel.Kind, body []byte, cost int) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.endpoints[lane.Endpoint()] = struct{}{}
	return s.pushFrame(g, lane, kind, body, cost)
}

// Cancel asks the host to end u early. While no link is up nobody can be asked:
// u completes at once then, and what the host makes of it is dropped.
func (d *far) Cancel(u *usb.URB) {
	d.mu.Lock()
	if i := slices.Index(d.waiting, u); i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
		d.mu.Unlock()
		u.Finish(usb.StatusReset)
		return
	}
	p := d.byURB[u]
	if p == nil || p.cancelled {
		d.mu.Unlock()
		return
	}
	p.cancelled = true
	d.send(p, tunnel.KindCancel, tunnel.Cancel{URB: p.id}.Encode())
	linked := d.s.linked()
	if !linked {
		d.orphan(p)
	}
	d.mu.Unlock()
	if !linked {
		u.Finish(usb.StatusReset)
	}
}

// orphan takes the local URB from p, which goes on counting as in flight until
// the host has completed it. d.mu is held.
func (d *far) orphan(p *farURB) {
	delete(d.byURB, p.urb)
	p.urb = nil
}

func (s *Session) linked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links.active != nil
}

// abandon completes the cancelled URBs whose answer is not to be expected
// soon, because the last link was lost.
func (d *far) abandon() {
	d.mu.Lock()
	var cancelled []*usb.URB
	for _, id := range slices.Sorted(maps.Keys(d.pending)) {
		if p := d.pending[id]; p.cancelled && p.urb != nil {
			cancelled = append(cancelled, p.urb)
			d.orphan(p)
		}
	}
	d.mu.Unlock()
	for _, u := range cancelled {
		u.Finish(usb.StatusReset)
	}
}

// released makes room for what was acknowledged.
func (d *far) released(cost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unacked -= cost
	d.admit()
}

// deliver takes a frame of one of the device's lanes.
func (d *far) deliver(f tunnel.Frame) error {
	if f.Kind != tunnel.KindComplete {
		return malformed("kind %d from a host", f.Kind)
	}
	m, err := tunnel.DecodeComplete(f.Body)
	if err != nil {
		return err
	}
	d.mu.Lock()
	p := d.pending[m.URB]
	if p == nil || p.lane != f.Lane {
		over := d.over != 0
		d.mu.Unlock()
		if over {
			return nil
		}
		return malformed("the completion of URB %d, which is not pending", m.URB)
	}
	u := p.urb
	if u != nil {
		if err := checkComplete(m, u); err != nil {
			d.mu.Unlock()
			return err // p completes when the attachment ends
		}
		delete(d.byURB, u)
		d.traffic.count(u.In(), int(m.Actual))
	}
	delete(d.pending, p.id)
	d.cost -= p.cost
	d.admit()
	d.mu.Unlock()

	d.s.submitArrived(d.group, p)
	if u != nil {
		finish(u, m)
	}
	return nil
}

// submitArrived takes a completion for the acknowledgement that it implies.
func (s *Session) submitArrived(g *group, p *farURB) {
	s.mu.Lock()
	defer s.unlock()
	if t := g.tx[p.lane]; t != nil && !g.dead {
		_ = s.acknowledge(t, p.seq+1) // it was sent
	}
}

// Close gives the device back. Pending URBs complete with StatusShutdown. It
// waits a little for the host to have the device back.
func (d *far) Close() error {
	d.detach(&EndedError{tunnel.CodeDetached, "as asked for"})
	if !d.s.linked() {
		return nil
	}
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-d.detached:
	case <-timer.C:
	case <-d.s.over:
	}
	return nil
}

// detach ends the attachment from this end.
func (d *far) detach(reason error) {
	if !d.finish(reason, usb.StatusShutdown) {
		return
	}
	s := d.s
	s.mu.Lock()
	s.endGroup(d.group)
	if s.state.far[d.group.attachment] == d {
		s.pushControl(d.control, tunnel.KindDetach, tunnel.Detach{Attachment: d.group.attachment}.Encode())
	}
	s.unlock()
}

// forget ends what is left once the session knows nothing of d any more.
func (d *far) forget(reason error, status usb.Status) {
	d.finish(reason, status)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.forgotten {
		d.forgotten = true
		close(d.detached)
	}
}

// finish makes the device gone for this end and completes everything with
// status. It returns false if that was done before.
func (d *far) finish(reason error, status usb.Status) bool {
	d.mu.Lock()
	if d.over != 0 {
		d.mu.Unlock()
		return false
	}
	d.over, d.why = status, reason
	var left []*usb.URB
	byID := func(a, b *farURB) int { return cmp.Compare(a.id, b.id) }
	for _, p := range slices.SortedFunc(maps.Values(d.byURB), byID) {
		left = append(left, p.urb)
	}
	left = append(left, d.waiting...)
	d.waiting = nil
	clear(d.pending)
	clear(d.byURB)
	d.mu.Unlock()
	close(d.gone)
	for _, u := range left {
		u.Finish(status)
	}
	return true
}

// Why returns why the device is gone, once it is.
func (d *far) Why() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}

func (d *far) status() AttachmentStatus {
	d.s.mu.Lock()
	info, since := d.info, d.since
	d.s.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	return AttachmentStatus{
		Number: d.group.attachment, Client: true, Device: d.device, Name: info.Name(), Since: since,
		Pending: len(d.byURB) + len(d.waiting), Done: d.traffic.done, BytesIn: d.traffic.in, BytesOut: d.traffic.out,
	}
}
