//go:build libusb

package libusb

import (
	"context"
	"errors"
	"sync"

	"github.com/google/gousb"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// device is an opened device. It has a lane for each endpoint that has been
// used. The lane of endpoint 0 also performs changes of state; it pauses the
// affected lanes meanwhile.
type device struct {
	// Constant after construction.
	info        usb.Info
	descriptors usb.Descriptors
	close       func() error
	gone        chan struct{} // closed when ending is set
	joined      sync.WaitGroup
	once        sync.Once // runs the body of Close
	closeErr    error     // the result of Close

	claims        *claims // changed by the lane of endpoint 0 while the affected lanes are paused
	configuration uint8   // bConfigurationValue; owned by the lane of endpoint 0

	mu      sync.Mutex
	lanes   map[usb.Endpoint]*lane
	pending map[*usb.URB]bool
	stalled map[usb.Endpoint]bool // endpoints that stalled after their halt was cleared last
	ending  usb.Status            // not StatusOK: the device has ended, and new URBs get this status
}

// newDevice returns a device, whose Close calls closeHandle at the end.
func newDevice(info usb.Info, c *claims, closeHandle func() error) (*device, error) {
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return nil, err
	}
	return &device{
		info: info, descriptors: d, close: closeHandle, gone: make(chan struct{}),
		claims: c, configuration: info.Configuration,
		lanes: make(map[usb.Endpoint]*lane), pending: make(map[*usb.URB]bool), stalled: make(map[usb.Endpoint]bool),
	}, nil
}

// Info implements [usb.Device].
func (d *device) Info() usb.Info { return d.info }

// Gone implements [usb.Device]. The channel is closed when a transfer fails
// because the device was unplugged, not earlier.
func (d *device) Gone() <-chan struct{} { return d.gone }

// Submit implements [usb.Device].
func (d *device) Submit(u *usb.URB) { u.Begin(d.enqueue) }

func (d *device) enqueue(u *usb.URB) usb.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	key, known := d.key(u.Endpoint)
	switch {
	case d.ending != usb.StatusOK:
		return d.ending
	case len(d.pending) >= usb.MaxPending:
		return usb.StatusNoMemory
	case !known, d.pending[u], len(u.Packets) > 0:
		return usb.StatusInvalid
	case key == 0 && u.SetupPacket().Harmful():
		return usb.StatusStall
	}
	l := d.lanes[key]
	if l == nil {
		run := d.transfer
		if key == 0 {
			run = d.control
		}
		l = newLane(run)
		d.lanes[key] = l
		d.joined.Go(func() { l.work(d.finish) })
	}
	d.pending[u] = true
	l.push(u)
	return usb.StatusOK
}

// key returns the key of an endpoint's lane. known is false if no setting of the
// device has the endpoint. That bounds the number of lanes.
func (d *device) key(e usb.Endpoint) (key usb.Endpoint, known bool) {
	if e.Number() == 0 {
		return 0, true
	}
	for _, c := range d.descriptors.Configurations {
		for _, s := range c.Settings {
			for _, declared := range s.Endpoints {
				if declared.Address == e {
					return e, true
				}
			}
		}
	}
	return 0, false
}

// finish completes an URB and notes a stall or an unplugged device.
func (d *device) finish(u *usb.URB, s usb.Status) {
	d.mu.Lock()
	delete(d.pending, u)
	if s == usb.StatusStall && u.Endpoint.Number() != 0 {
		d.stalled[u.Endpoint] = true
	}
	if s == usb.StatusNoDevice && d.ending == usb.StatusOK {
		d.ending = s
		close(d.gone)
	}
	d.mu.Unlock()
	u.Finish(s)
}

// Cancel implements [usb.Device].
func (d *device) Cancel(u *usb.URB) {
	d.mu.Lock()
	var l *lane
	if d.pending[u] {
		key, _ := d.key(u.Endpoint)
		l = d.lanes[key]
	}
	d.mu.Unlock()
	if l != nil && l.drop(u) {
		d.finish(u, usb.StatusReset)
	}
}

// transfer runs a bulk or interrupt URB.
func (d *device) transfer(ctx context.Context, u *usb.URB) usb.Status {
	var err error
	in, out := d.claims.endpoint(u.Endpoint)
	switch {
	case u.In() && in != nil:
		u.Actual, err = in.ReadContext(ctx, u.Data)
		clear(u.Data[u.Actual:]) // gousb fills the rest from memory that was not initialized
	case !u.In() && out != nil:
		u.Actual, err = out.WriteContext(ctx, u.Data)
		whole := len(u.Data) > 0 && len(u.Data)%out.Desc.MaxPacketSize == 0
		if err == nil && u.Flags&usb.ZeroPacket != 0 && whole && out.Desc.TransferType == gousb.TransferTypeBulk {
			_, err = out.WriteContext(ctx, nil)
		}
	default:
		return usb.StatusInvalid
	}
	return result(u, err)
}

// control runs a control URB. gousb cannot cancel it after it has started.
func (d *device) control(ctx context.Context, u *usb.URB) usb.Status {
	if ctx.Err() != nil {
		return usb.StatusReset
	}
	s := u.SetupPacket()
	if s.Change() != usb.NoChange {
		return statusOf(d.change(s))
	}
	n, err := d.claims.handle.Control(s.Type, s.Request, s.Value, s.Index, u.Data[:min(len(u.Data), int(s.Length))])
	u.Actual = max(n, 0)
	return result(u, err)
}

// change performs a request whose [usb.Setup.Change] is not NoChange, through
// libusb, which keeps a copy of the state that the request changes.
//
// CLEAR_FEATURE(ENDPOINT_HALT) is sent to the device as it is, and only after a
// stall. gousb lacks libusb_clear_halt, which would also reset the data toggle of
// the host controller. An xHCI controller resets it when the endpoint stalls.
// Behind an older controller the next transfer may be lost, and the driver
// repeats it.
func (d *device) change(s usb.Setup) error {
	switch s.Change() {
	case usb.SetConfiguration:
		if s.Value == uint16(d.configuration) {
			return nil // the device would lose its state for nothing
		}
		c, ok := d.descriptors.Configuration(uint8(s.Value))
		if !ok || s.Value > 0xff {
			return gousb.ErrorPipe
		}
		return d.paused(nil, func() error {
			d.configuration = c.Value
			return d.claims.configure(int(c.Value))
		})
	case usb.SetInterface:
		c, _ := d.descriptors.Configuration(d.configuration)
		if s.Index > 0xff || s.Value > 0xff {
			return gousb.ErrorPipe
		}
		if _, ok := c.Setting(uint8(s.Index), uint8(s.Value)); !ok {
			return gousb.ErrorPipe
		}
		own := func(e usb.Endpoint) bool { return belongs(c, uint8(s.Index), e) }
		return d.paused(own, func() error { return d.claims.set(int(s.Index), int(s.Value)) })
	case usb.ClearHalt:
		e := usb.Endpoint(s.Index)
		d.mu.Lock()
		stalled := d.stalled[e]
		delete(d.stalled, e)
		d.mu.Unlock()
		if !stalled && e.Number() != 0 {
			return nil
		}
		_, err := d.claims.handle.Control(s.Type, s.Request, s.Value, s.Index, nil)
		return err
	}
	return d.paused(nil, func() error { return d.claims.reset(int(d.configuration)) })
}

// belongs reports whether any setting of the interface has the endpoint.
func belongs(c usb.Configuration, number uint8, e usb.Endpoint) bool {
	for _, s := range c.Settings {
		for _, declared := range s.Endpoints {
			if s.Number == number && declared.Address == e {
				return true
			}
		}
	}
	return false
}

// paused calls f while the lanes of some endpoints are paused: those for which
// affected returns true, or all except endpoint 0 if affected is nil. It first
// completes their URBs with StatusShutdown, as the kernel does.
func (d *device) paused(affected func(usb.Endpoint) bool, f func() error) error {
	d.mu.Lock()
	var lanes []*lane
	for e, l := range d.lanes {
		if e != 0 && (affected == nil || affected(e)) {
			lanes = append(lanes, l)
		}
	}
	d.mu.Unlock()
	for _, l := range lanes {
		for _, u := range l.pause(usb.StatusShutdown) {
			d.finish(u, usb.StatusShutdown)
		}
		defer l.resume()
	}
	return f()
}

// Close implements [usb.Device].
func (d *device) Close() error {
	d.once.Do(func() {
		d.mu.Lock()
		if d.ending == usb.StatusOK {
			d.ending = usb.StatusShutdown
			close(d.gone)
		}
		lanes := d.lanes
		d.mu.Unlock()
		for _, l := range lanes {
			for _, u := range l.pause(usb.StatusShutdown) {
				d.finish(u, usb.StatusShutdown)
			}
			l.end()
		}
		d.joined.Wait()
		d.claims.release()
		_ = d.claims.handle.Reset() // fails if the device is unplugged
		d.closeErr = d.close()
	})
	return d.closeErr
}

// result returns the status of an URB whose transfer ended with err.
func result(u *usb.URB, err error) usb.Status {
	if err == nil && u.In() && u.Flags&usb.ShortNotOK != 0 && u.Actual < len(u.Data) {
		return usb.StatusShortRead
	}
	return statusOf(err)
}

var statuses = map[error]usb.Status{
	gousb.TransferStall: usb.StatusStall, gousb.ErrorPipe: usb.StatusStall,
	gousb.TransferCancelled: usb.StatusReset,
	gousb.TransferNoDevice:  usb.StatusNoDevice, gousb.ErrorNoDevice: usb.StatusNoDevice,
	gousb.TransferOverflow: usb.StatusOverflow, gousb.ErrorOverflow: usb.StatusOverflow,
	gousb.TransferTimedOut: usb.StatusTimeout, gousb.ErrorTimeout: usb.StatusTimeout,
	gousb.TransferError:     usb.StatusProtocol,
	gousb.ErrorInvalidParam: usb.StatusInvalid, gousb.ErrorNotFound: usb.StatusInvalid,
	gousb.ErrorNotSupported: usb.StatusInvalid,
	gousb.ErrorNoMem:        usb.StatusNoMemory,
}

func statusOf(err error) usb.Status {
	if err == nil {
		return usb.StatusOK
	}
	for known, status := range statuses {
		if errors.Is(err, known) {
			return status
		}
	}
	return usb.StatusIO
}
