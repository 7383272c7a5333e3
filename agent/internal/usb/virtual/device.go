package virtual

import (
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// device is an opened gadget. The goroutine run offers the oldest URB of each
// endpoint to the gadget. It repeats this while URBs make progress. Then it
// waits until an URB is submitted or cancelled or the gadget calls wake.
type device struct {
	// Constant after construction.
	info    usb.Info
	about   description
	gadget  Gadget
	config  usb.Configuration
	release func()
	gone    chan struct{} // closed by end
	ended   chan struct{} // closed when run has returned
	wake    chan struct{} // of capacity 1: holds at most one signal
	once    sync.Once     // calls release

	// Guarded by mu.
	mu      sync.Mutex
	queues  [32][]*request // by endpoint number, plus 16 for IN; oldest first
	pending map[*usb.URB]*request
	ending  usb.Status // not StatusOK: the device has ended, and new URBs get this status

	// Owned by run.
	configured bool
	endpoints  map[usb.Endpoint]usb.EndpointDescriptor // while configured
	halted     map[usb.Endpoint]bool
}

// request is an URB in a queue.
type request struct {
	urb       *usb.URB
	cancelled bool // guarded by mu
	moved     int  // bytes so far; owned by run
}

func newDevice(s *slot, release func()) (*device, error) {
	d, err := usb.ParseDescriptors(s.info.Descriptors)
	if err != nil {
		return nil, err
	}
	dev := &device{
		info: s.info, about: s.about, gadget: s.gadget, config: d.Configurations[0], release: release,
		gone: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{}, 1),
		pending: make(map[*usb.URB]*request),
	}
	dev.restart()
	s.gadget.attach(port{wake: dev.signal, halt: func(e usb.Endpoint) { dev.halted[e] = true }})
	return dev, nil
}

// restart puts the gadget into the state after a reset, with its configuration
// selected. The kernel does the same after a reset and when a device is plugged
// in.
func (d *device) restart() {
	d.gadget.reset()
	d.configure(true)
}

func (d *device) configure(on bool) {
	d.configured, d.halted, d.endpoints = on, make(map[usb.Endpoint]bool), nil
	if on {
		d.endpoints = d.config.Endpoints(nil)
	}
}

// Info implements [usb.Device].
func (d *device) Info() usb.Info { return d.info }

// Gone implements [usb.Device].
func (d *device) Gone() <-chan struct{} { return d.gone }

func queueOf(e usb.Endpoint) int {
	if e.Number() != 0 && e.In() {
		return int(e.Number()) + 16
	}
	return int(e.Number())
}

// Submit implements [usb.Device].
func (d *device) Submit(u *usb.URB) {
	if u.Begin(d.enqueue) {
		d.signal()
	}
}

func (d *device) enqueue(u *usb.URB) usb.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.ending != usb.StatusOK:
		return d.ending
	case len(d.pending) >= usb.MaxPending:
		return usb.StatusNoMemory
	case len(u.Packets) > 0, d.pending[u] != nil:
		return usb.StatusInvalid // no gadget has isochronous endpoints; no URB may be submitted twice
	}
	r := &request{urb: u}
	q := queueOf(u.Endpoint)
	d.queues[q] = append(d.queues[q], r)
	d.pending[u] = r
	return usb.StatusOK
}

// Cancel implements [usb.Device].
func (d *device) Cancel(u *usb.URB) {
	d.mu.Lock()
	if r := d.pending[u]; r != nil {
		r.cancelled = true
	}
	d.mu.Unlock()
	d.signal()
}

// Close implements [usb.Device].
func (d *device) Close() error {
	d.end(usb.StatusShutdown)
	<-d.ended
	d.once.Do(func() {
		d.gadget.attach(port{})
		d.gadget.reset()
		d.release()
	})
	return nil
}

// end makes run complete all URBs with status s and return.
func (d *device) end(s usb.Status) {
	d.mu.Lock()
	if d.ending == usb.StatusOK {
		d.ending = s
		close(d.gone)
	}
	d.mu.Unlock()
	d.signal()
}

func (d *device) signal() {
	select {
	case d.wake <- struct{}{}:
	default: // run has not yet received the previous signal
	}
}

func (d *device) run() {
	defer close(d.ended)
	for {
		moved := d.sweep()
		for q := range d.queues {
			if r := d.head(q); r != nil && d.step(r) {
				moved = true
			}
		}
		if moved {
			continue
		}
		if d.over() {
			return
		}
		<-d.wake
	}
}

// over reports whether the device has ended and all URBs are complete.
func (d *device) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ending != usb.StatusOK && len(d.pending) == 0
}

// sweep completes the cancelled URBs and, if the device has ended, all others.
// It reports whether it completed any.
func (d *device) sweep() bool {
	d.mu.Lock()
	var cancelled, rest []*request
	ending := d.ending
	for _, q := range d.queues {
		for _, r := range q {
			switch {
			case r.cancelled:
				cancelled = append(cancelled, r)
			case ending != usb.StatusOK:
				rest = append(rest, r)
			}
		}
	}
	d.mu.Unlock()
	for _, r := range cancelled {
		d.finish(r, usb.StatusReset)
	}
	for _, r := range rest {
		d.finish(r, ending)
	}
	return len(cancelled)+len(rest) > 0
}

func (d *device) head(q int) *request {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queues[q]) == 0 {
		return nil
	}
	return d.queues[q][0]
}

// finish removes a request from its queue and completes its URB.
func (d *device) finish(r *request, s usb.Status) {
	d.mu.Lock()
	q := &d.queues[queueOf(r.urb.Endpoint)]
	for i, other := range *q {
		if other == r {
			*q = append((*q)[:i], (*q)[i+1:]...)
			break
		}
	}
	delete(d.pending, r.urb)
	d.mu.Unlock()
	r.urb.Actual = r.moved
	r.urb.Finish(s)
}

// step offers a request to its endpoint and reports whether it made progress.
func (d *device) step(r *request) bool {
	u := r.urb
	if u.Endpoint.Number() == 0 {
		d.control(r)
		return true
	}
	e, ok := d.endpoints[u.Endpoint]
	switch {
	case !ok:
		d.finish(r, usb.StatusInvalid)
		return true
	case d.halted[e.Address]:
		d.finish(r, usb.StatusStall)
		return true
	}
	var n int
	var o outcome
	if e.Address.In() {
		n, o = d.gadget.in(e.Address, u.Data[r.moved:])
	} else {
		n, o = d.gadget.out(e.Address, u.Data[r.moved:])
	}
	r.moved += n
	switch o {
	case wait:
		return n > 0
	case done:
		status := usb.StatusOK
		if u.In() && u.Flags&usb.ShortNotOK != 0 && r.moved < len(u.Data) {
			status = usb.StatusShortRead
		}
		d.finish(r, status)
	case stall:
		d.halted[e.Address] = true
		d.finish(r, usb.StatusStall)
	case babble:
		d.finish(r, usb.StatusOverflow)
	}
	return true
}
