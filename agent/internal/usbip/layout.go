package usbip

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// layout follows which endpoints an imported device has. They change with its
// configuration and with the alternate settings of its interfaces.
type layout struct {
	descriptors usb.Descriptors
	speed       usb.Speed
	active      usb.Configuration
	alternates  map[uint8]uint8 // by interface number
	endpoints   map[usb.Endpoint]usb.EndpointDescriptor
}

func newLayout(d usb.Descriptors, configuration uint8, speed usb.Speed) layout {
	l := layout{descriptors: d, speed: speed}
	l.configure(configuration)
	return l
}

// configure selects a configuration with its interfaces in alternate setting 0. A
// device without that configuration has only endpoint 0.
func (l *layout) configure(value uint8) {
	l.active, _ = l.descriptors.Configuration(value)
	l.alternates = map[uint8]uint8{}
	l.endpoints = l.active.Endpoints(l.alternates)
}

// accepts reports whether the device has the endpoint of an URB, of the right type,
// and returns the URB's interval. The kernel's USB core refuses periodic URBs
// without an interval (drivers/usb/core/urb.c, usb_submit_urb), so accepts takes a
// missing one from the descriptor.
func (l *layout) accepts(u *usb.URB) (interval int32, ok bool) {
	if u.Endpoint.Number() == 0 {
		return u.Interval, true
	}
	e, ok := l.endpoints[u.Endpoint]
	if !ok || (e.Type == usb.Isochronous) != (len(u.Packets) > 0) {
		return 0, false
	}
	if u.Interval > 0 || e.Type == usb.Bulk || e.Type == usb.Control {
		return u.Interval, true
	}
	if e.Type == usb.Interrupt && l.speed < usb.SpeedHigh { // USB 2.0, table 9-13
		return max(int32(e.Interval), 1), true
	}
	return 1 << (min(max(e.Interval, 1), 16) - 1), true
}

// completed notes the effect of a control URB that the server has completed with
// status s, and returns its status.
func (l *layout) completed(u *usb.URB, s usb.Status) usb.Status {
	s = statusOrError(int32(s))
	if u.Endpoint.Number() != 0 {
		return s
	}
	setup := u.SetupPacket()
	switch change := setup.Change(); {
	case change == usb.PortReset && s == usb.StatusStall:
		// The kernel's server resets the device and then also sends the request to it,
		// which only a hub knows (drivers/usb/usbip/stub_rx.c, tweak_special_requests).
		return usb.StatusOK
	case s != usb.StatusOK:
	case change == usb.SetConfiguration:
		l.configure(uint8(setup.Value))
	case change == usb.SetInterface:
		l.alternates[uint8(setup.Index)] = uint8(setup.Value)
		l.endpoints = l.active.Endpoints(l.alternates)
	}
	return s
}
