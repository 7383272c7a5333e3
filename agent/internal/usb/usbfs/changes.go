//go:build linux

package usbfs

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// changes runs the queued control requests until the device ends. It performs a
// request that changes the device's state while no other control URB is in
// flight. It launches all others.
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

// perform performs a request that changes the device's state. mu must be held.
// perform releases it during the ioctl, which takes as long as a reset, and
// locks it again.
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
