// Package outbox performs the effects of a wrapper of a [usb.Device] in order
// and outside of the wrapper's lock.
//
// A Device may call Done before Submit returns, and Done takes the wrapper's
// lock. Therefore a wrapper must not call Submit or Finish while it holds its
// lock. It puts the calls into an Outbox instead, and calls Run after it has
// unlocked.
package outbox

import (
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Outbox is a queue of calls. Its methods may be called concurrently. The owner must
// not hold its lock when it calls Run or Drain.
type Outbox struct {
	Device usb.Device // static; receives the calls of Submit and Cancel

	mu      sync.Mutex
	calls   []call
	spare   []call // memory for calls
	running bool
	idle    sync.Cond // on mu; signalled when running becomes false
}

type call struct {
	urb    *usb.URB
	kind   kind
	status usb.Status // for finish
}

type kind uint8

const (
	submit kind = iota
	cancel
	finish
)

// New returns an empty Outbox.
func New(dev usb.Device) *Outbox {
	o := &Outbox{Device: dev}
	o.idle.L = &o.mu
	return o
}

// Submit queues the call of Device.Submit.
func (o *Outbox) Submit(u *usb.URB) { o.add(call{urb: u, kind: submit}) }

// Cancel queues the call of Device.Cancel.
func (o *Outbox) Cancel(u *usb.URB) { o.add(call{urb: u, kind: cancel}) }

// Finish queues the completion of u.
func (o *Outbox) Finish(u *usb.URB, s usb.Status) { o.add(call{urb: u, kind: finish, status: s}) }

func (o *Outbox) add(c call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, c)
}

// Run makes the queued calls in their order, and those that are queued meanwhile.
// If another goroutine, or a caller of this one, is in Run already, Run leaves the
// calls to it and returns at once.
func (o *Outbox) Run() {
	o.mu.Lock()
	if o.running {
		o.mu.Unlock()
		return
	}
	o.running = true
	for len(o.calls) > 0 {
		calls := o.calls
		o.calls, o.spare = o.spare, nil
		o.mu.Unlock()
		for _, c := range calls {
			o.perform(c)
		}
		clear(calls)
		o.mu.Lock()
		o.spare = calls[:0]
	}
	o.running = false
	o.idle.Broadcast()
	o.mu.Unlock()
}

// Drain makes the queued calls and returns when no goroutine makes any more. It
// must not be called within a call of the Outbox.
func (o *Outbox) Drain() {
	o.Run()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.running {
		o.idle.Wait()
	}
}

func (o *Outbox) perform(c call) {
	switch c.kind {
	case submit:
		o.Device.Submit(c.urb)
	case cancel:
		o.Device.Cancel(c.urb)
	case finish:
		c.urb.Finish(c.status)
	}
}
