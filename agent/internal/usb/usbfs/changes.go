//go:build linux

package usbfs

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// changes does the queued control requests until the end: one that changes the
// device's state when no control URB is at work, any other by launching it.
func (d *device) changes() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.ending == usb.StatusOK {
		if len(d.control) == 0 {
			d.changed.Wait()
			continue
		}
		r := d.control[0]
		change := r.change() != usb.NoChange
		if change && d.controls > 0 {
			d.changed.Wait()
			continue
		}
		d.control = d.control[1:]
		var status usb.Status
		if change {
			status = d.perform(r)
			delete(d.pending, r.urb)
			r.unpin()
		} else if status = d.launch(r); status == usb.StatusOK {
			continue
		}
		d.mu.Unlock()
		r.urb.Finish(status)
		d.mu.Lock()
	}
}

// perform does a change of state. The lock is held, but not while the kernel
// works: that takes as long as a reset.
func (d *device) perform(r *request) usb.Status {
	d.changing = true
	d.mu.Unlock()
	err := d.handle.change(r.urb.SetupPacket())
	endpoints, e := d.handle.endpoints(d.descriptors)
	d.mu.Lock()
	d.changing = false
	if e == nil {
		d.endpoints = endpoints
	}
	return statusOf(err)
}
