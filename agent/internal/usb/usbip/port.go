package usbip

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

const hubClass = 0x09

// port is an entry of the server's list. The bus's mu guards its fields.
type port struct {
	info      usb.Info
	reserved  bool          // Open or probe imports the device
	done      chan struct{} // closed when probe has ended; nil while it does not run
	opened    *openDevice   // nil while the device is not open
	released  time.Time     // when this bus closed the device last
	resetting bool          // the server has not listed the device since then
	retry     time.Time     // when the descriptors may be read, if that failed before
	problem   string        // why they could not be read
}

// openDevice is a device that this bus has open.
type openDevice struct {
	usb.Device
	release func()
}

// Close implements [usb.Device].
func (d *openDevice) Close() error {
	err := d.Device.Close()
	d.release()
	return err
}

// held reports whether this bus uses the device, and it is still there. The server
// need not list it.
func (p *port) held() bool {
	if p.opened == nil {
		return p.reserved
	}
	select {
	case <-p.opened.Gone():
		return false
	default:
		return true
	}
}

// unread reports whether the descriptors must be read. Those of a hub are not needed.
func (p *port) unread() bool {
	return len(p.info.Descriptors) == 0 && p.info.Class != hubClass && !p.reserved && p.opened == nil
}

// describe returns the description for users of the bus.
func (p *port) describe() usb.Info {
	i := p.info
	switch {
	case i.Class == hubClass:
		i.InUse = "it is a hub"
	case p.opened != nil:
		i.InUse = "it is already opened"
	case p.problem != "":
		i.InUse = p.problem
	}
	return i
}

// reserve marks a port as being opened. It waits for a running probe.
func (b *Bus) reserve(p *port) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p.done != nil {
		done := p.done
		b.mu.Unlock()
		<-done
		b.mu.Lock()
	}
	switch {
	case p.info.Class == hubClass:
		return fmt.Errorf("%w: it is a hub", usb.ErrInUse)
	case p.opened != nil, p.reserved:
		return fmt.Errorf("%w: release it first", usb.ErrInUse)
	}
	p.reserved = true
	return nil
}

// probe imports the device of a port for a moment, to read its descriptors.
func (b *Bus) probe(ctx context.Context, p *port) {
	b.mu.Lock()
	if !p.unread() {
		b.mu.Unlock()
		return
	}
	p.reserved, p.done = true, make(chan struct{})
	b.mu.Unlock()
	d, err := b.importPort(ctx, p)
	if err == nil {
		err = d.Close()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	close(p.done)
	p.reserved, p.done = false, nil
	if err != nil {
		p.retry, p.problem = time.Now().Add(probeRetryInterval), "it cannot be read: "+err.Error()
		if errors.Is(err, usb.ErrInUse) {
			p.problem = "another USB/IP client uses it"
		}
		return
	}
	p.info, p.problem, p.released, p.resetting = d.Info(), "", time.Now(), true
}
