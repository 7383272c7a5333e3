package guard

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// maxExchanges is the number of exchanges of one epoch that the guard keeps. A
// client has 512 URBs in flight at most. A greater number ends the epoch.
const maxExchanges = 1024

// aheadTimeout is the time that the device has for each transfer of an exchange that is not
// urgent. Nobody waits for such an exchange, so nobody else would cancel it. It
// ends with StatusTimeout.
const aheadTimeout = 7 * time.Second

// Device is a device behind a guard.
type Device struct {
	usb.Device
	box *outbox.Outbox

	mu        sync.Mutex
	epoch     uint32
	isOver    bool                  // the epoch has ended
	exchanges map[uint32]*exchange  // of the epoch, by number
	current   *exchange             // the device has a part of it; nil: none
	inFlight  *entry                // the marked URB that the backend has
	endpoints map[usb.Endpoint]bool // of marked URBs
	entries   map[*usb.URB]*entry   // all marked URBs that are not complete
	arrivals  uint64                // of marked URBs
	closed    bool
}

// Fits reports whether a stage may send URBs for the device ahead: it has an interface
// with Bulk-Only Transport (bInterfaceClass 08h, bInterfaceProtocol 50h).
func Fits(info usb.Info) bool {
	return slices.ContainsFunc(info.Interfaces, func(i usb.Interface) bool {
		return i.Class == 0x08 && i.Protocol == 0x50
	})
}

// New returns dev behind a guard. The caller closes the result instead of dev.
func New(dev usb.Device) *Device {
	return &Device{
		Device: dev, box: outbox.New(dev), isOver: true,
		exchanges: map[uint32]*exchange{}, endpoints: map[usb.Endpoint]bool{},
		entries: map[*usb.URB]*entry{},
	}
}

// Guarded implements the interface by which a session finds out that the device
// has a guard.
func (d *Device) Guarded() bool { return true }

// entry is a marked URB. The backend gets a copy of it, so that the submitter's
// fields remain.
type entry struct {
	urb      *usb.URB
	sent     usb.URB
	mark     Mark
	exchange *exchange
	arrival  uint64 // rises with each marked URB
	timer    *time.Timer
	timedOut bool
	clearing *usb.URB // ends the halt instead of a status; nil: the status never was halted
	isHalted bool     // the backend has clearing
}

// flying returns the URB of e that the backend has.
func (e *entry) flying() *usb.URB {
	if e.isHalted {
		return e.clearing
	}
	return &e.sent
}

// Submit implements [usb.Device].
func (d *Device) Submit(u *usb.URB) {
	m, marked := MarkOf(u)
	if s := u.Check(); s != usb.StatusOK {
		u.Finish(s)
		return
	}
	d.mu.Lock()
	if marked {
		d.submit(u, m)
	} else {
		Clear(u)
		if d.endpoints[u.Endpoint] || d.resets(u) {
			d.endEpoch()
		}
		d.box.Submit(u)
	}
	d.mu.Unlock()
	d.box.Run()
}

// resets reports whether u is a request that changes the state of the endpoints of
// exchanges. mu must be held.
func (d *Device) resets(u *usb.URB) bool {
	if u.Endpoint.Number() != 0 {
		return false
	}
	s := u.SetupPacket()
	switch s.Change() {
	case usb.SetConfiguration, usb.PortReset:
		return true
	case usb.ClearHalt:
		return d.endpoints[usb.Endpoint(s.Index)]
	}
	return false
}

// submit adds a marked URB to its exchange. mu must be held.
func (d *Device) submit(u *usb.URB, m Mark) {
	if m.Epoch > d.epoch {
		d.endEpoch()
		d.epoch, d.isOver = m.Epoch, false
		clear(d.exchanges)
	}
	x := d.exchanges[m.Number]
	switch {
	case d.closed:
		u.Actual = 0
		d.box.Finish(u, usb.StatusShutdown)
		return
	case d.isOver, m.Epoch < d.epoch, x != nil && x.dropped, d.entries[u] != nil:
		u.Actual = 0
		d.box.Finish(u, usb.StatusReset)
		return
	case x == nil && len(d.exchanges) >= maxExchanges:
		d.endEpoch()
		u.Actual = 0
		d.box.Finish(u, usb.StatusReset)
		return
	case x == nil:
		x = &exchange{number: m.Number}
		d.exchanges[m.Number] = x
	}
	d.arrivals++
	e := &entry{urb: u, mark: m, exchange: x, arrival: d.arrivals}
	d.endpoints[u.Endpoint] = true
	d.entries[u] = e
	if !x.add(e) {
		d.endEpoch()
		return
	}
	d.advance()
}

// advance hands the next URB to the backend, if it has none. mu must be held.
func (d *Device) advance() {
	if d.inFlight != nil || d.isOver {
		return
	}
	if d.current == nil {
		d.current = d.next()
	}
	if d.current == nil {
		return
	}
	e := d.current.take()
	if e == nil {
		return // it has not arrived
	}
	d.inFlight = e
	e.sent = *e.urb
	Clear(&e.sent)
	e.sent.Interval, e.sent.StartFrame = 0, 0
	e.sent.Done = func(*usb.URB) { d.done(e) }
	if !d.current.urgent {
		e.timer = time.AfterFunc(aheadTimeout, func() { d.timeOut(e) })
	}
	d.box.Submit(&e.sent)
}

// timeOut cancels a transfer that takes too long.
func (d *Device) timeOut(e *entry) {
	d.mu.Lock()
	if d.inFlight == e {
		e.timedOut = true
		d.box.Cancel(e.flying())
	}
	d.mu.Unlock()
	d.box.Run()
}

// next returns the exchange to run next, or nil. mu must be held.
func (d *Device) next() *exchange {
	var best *exchange
	for _, x := range d.exchanges {
		if x.command == nil || x.dropped {
			continue
		}
		if best == nil || x.urgent && !best.urgent || x.urgent == best.urgent && x.number < best.number {
			best = x
		}
	}
	return best
}

// clearHalt ends the halt of the endpoint that should have sent a status, and asks for
// the status once more. Disks halt it after data that were shorter than the command
// asked for, and every driver does the same (Bulk-Only Transport 1.0, 6.7.2 and figure
// 2). mu must be held.
func (d *Device) clearHalt(e *entry) {
	setup := usb.Setup{Type: 0x02, Request: 1, Index: uint16(e.urb.Endpoint)}
	e.isHalted, e.clearing = true, &usb.URB{Setup: setup.Bytes(), Done: func(u *usb.URB) {
		d.mu.Lock()
		e.isHalted = false
		again := u.Status == usb.StatusOK && !d.isOver
		if again {
			e.sent.Actual = 0
			d.box.Submit(&e.sent)
		}
		d.mu.Unlock()
		if !again {
			d.done(e)
		}
		d.box.Run()
	}}
	d.box.Submit(e.clearing)
}

// done handles the completion of the URB that the backend had.
func (d *Device) done(e *entry) {
	d.mu.Lock()
	if e.mark.Role == Status && e.sent.Status == usb.StatusStall && e.clearing == nil && !d.isOver {
		d.clearHalt(e)
		d.mu.Unlock()
		d.box.Run()
		return
	}
	d.inFlight = nil
	delete(d.entries, e.urb)
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.timedOut && e.sent.Status.Cancelled() {
		e.sent.Status = usb.StatusTimeout
	}
	e.urb.Actual = e.sent.Actual
	d.box.Finish(e.urb, e.sent.Status)
	if x := e.exchange; d.current == x && !d.isOver {
		switch x.result(e) {
		case goesOn:
		case isGood:
			delete(d.exchanges, x.number)
			d.current = nil
			d.dropAll(x.data) // of a data phase that ended early
		case isBad:
			d.endEpoch()
		}
	}
	d.advance()
	d.mu.Unlock()
	d.box.Run()
}

// endEpoch ends the epoch and completes all its URBs but the one that the backend
// has. mu must be held.
func (d *Device) endEpoch() {
	d.isOver, d.current = true, nil
	clear(d.exchanges)
	clear(d.endpoints)
	d.dropHeld(usb.StatusReset)
}

// dropHeld completes all marked URBs but the one that the backend has, in the
// order of their arrival. mu must be held.
func (d *Device) dropHeld(s usb.Status) {
	byArrival := func(a, b *entry) int { return cmp.Compare(a.arrival, b.arrival) }
	for _, e := range slices.SortedFunc(maps.Values(d.entries), byArrival) {
		if e != d.inFlight {
			d.drop(e, s)
		}
	}
}

func (d *Device) dropAll(list []*entry) {
	for _, e := range list {
		if e != nil {
			d.drop(e, usb.StatusReset)
		}
	}
}

// drop completes an URB that has not reached the device. mu must be held.
func (d *Device) drop(e *entry, s usb.Status) {
	if d.entries[e.urb] != e {
		return
	}
	delete(d.entries, e.urb)
	e.urb.Actual = 0
	d.box.Finish(e.urb, s)
}

// Cancel implements [usb.Device].
func (d *Device) Cancel(u *usb.URB) {
	d.mu.Lock()
	e := d.entries[u]
	switch {
	case e == nil:
		d.box.Cancel(u)
	case e == d.inFlight:
		d.box.Cancel(e.flying())
	case e.exchange == d.current:
		d.drop(e, usb.StatusReset)
		d.endEpoch()
	default:
		d.dropExchange(e)
		d.advance()
	}
	d.mu.Unlock()
	d.box.Run()
}

// dropExchange drops the exchange of e, which has not begun. mu must be held.
func (d *Device) dropExchange(e *entry) {
	x := e.exchange
	x.dropped = true
	if x.command != nil {
		d.drop(x.command, usb.StatusReset)
	}
	if x.status != nil {
		d.drop(x.status, usb.StatusReset)
	}
	d.dropAll(x.data)
	x.command, x.status, x.data = nil, nil, nil
}

// Close implements [usb.Device].
func (d *Device) Close() error {
	d.mu.Lock()
	d.closed, d.isOver, d.current = true, true, nil
	d.dropHeld(usb.StatusShutdown)
	d.mu.Unlock()
	d.box.Drain()
	err := d.Device.Close()
	d.box.Drain()
	return err
}
