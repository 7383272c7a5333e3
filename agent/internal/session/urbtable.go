package session

import (
	"github.com/easyfind-usb/easyfind/agent/internal/session/fifo"
	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// urbTable holds the URBs of an exported attachment. exportedAttachment.mu guards it.
//
//	submitted ──► parked ──room for the result──► running ──► completed ──► acknowledged
//	                 └────────cancelled──────────────────────────▲
type urbTable struct {
	endpoints  [endpointSlots]exportedEndpoint
	parked     fifo.Queue[*exportedURB] // not run yet, because too many results are kept
	live       int                      // URBs that are parked or running
	cost       int                      // the sum of their costs
	held       int                      // bytes of results that are being made or wait to be acknowledged
	free       []*exportedURB           // for reuse
	cancelling *exportedURB             // the device's Cancel is being called with it, so it is not reused
}

// exportedEndpoint is an endpoint of an exported attachment.
type exportedEndpoint struct {
	types transferTypes            // none: the device has no such endpoint
	class tunnel.Class             // of lane
	lane  *transport.OutLane       // nil until it is used
	last  uint64                   // the number of the last URB: numbers rise
	live  fifo.Queue[*exportedURB] // parked or running, in the order of their numbers
}

// exportedURB is an URB of the peer.
type exportedURB struct {
	number   uint64
	endpoint *exportedEndpoint
	urb      usb.URB
	length   int
	cost     int    // against tunnel.MaxInFlightSum
	result   int    // bytes that its result needs
	submit   []byte // body of its Submit, which holds the data of an OUT; nil for an IN
	body     []byte // of its Complete, with room for the data; nil for an isochronous IN, and until it runs
	isParked bool
	isLive   bool
}

// reuse returns an URB that has completed, or nil.
func (t *urbTable) reuse() *exportedURB {
	n := len(t.free)
	if n == 0 {
		return nil
	}
	p := t.free[n-1]
	t.free = t.free[:n-1]
	return p
}

// recycle lets another Submit use an URB that has completed, except while the device's Cancel may look at it.
func (t *urbTable) recycle(p *exportedURB) {
	if p == t.cancelling {
		return
	}
	done, packets := p.urb.Done, p.urb.Packets[:0]
	*p = exportedURB{urb: usb.URB{Done: done, Packets: packets}}
	t.free = append(t.free, p)
}

// admit checks a Submit, and parks its URB.
func (t *urbTable) admit(e *exportedEndpoint, m *tunnel.Submit, p *exportedURB) error {
	switch {
	case m.URB <= e.last:
		return malformed("URB %d after URB %d", m.URB, e.last)
	case t.live >= tunnel.MaxInFlight || t.cost+p.cost > tunnel.MaxInFlightSum:
		return malformed("more than %d URBs or %d bytes in flight", tunnel.MaxInFlight, tunnel.MaxInFlightSum)
	}
	e.last = m.URB
	p.isParked, p.isLive = true, true
	e.live.Push(p)
	t.parked.Push(p)
	t.live++
	t.cost += p.cost
	return nil
}

// unpark takes the next URB if there is room for its result, and reports whether another one may follow.
func (t *urbTable) unpark() (p *exportedURB, more bool) {
	if t.parked.Len() == 0 || t.held > 0 && t.held+(*t.parked.At(0)).result > tunnel.MaxInFlightSum {
		return nil, false
	}
	p = t.parked.Pop()
	t.held += p.result
	p.isParked = false
	return p, t.parked.Len() > 0
}

// remove removes an URB that has completed.
func (t *urbTable) remove(p *exportedURB) {
	e := p.endpoint
	for i := range e.live.Len() {
		if *e.live.At(i) == p {
			e.live.Delete(i)
			break
		}
	}
	p.isLive = false
	t.live--
	t.cost -= p.cost
}

// find returns the URB with a number, or nil.
func (e *exportedEndpoint) find(number uint64) *exportedURB {
	for i := range e.live.Len() {
		if p := *e.live.At(i); p.number == number {
			return p
		}
	}
	return nil
}

// dropParked drops the URBs that do not run.
func (t *urbTable) dropParked() { t.parked = fifo.Queue[*exportedURB]{} }
