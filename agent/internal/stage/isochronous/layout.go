package isochronous

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// layout knows the isochronous endpoints of a device, and which of them exist now.
type layout struct {
	descriptors   usb.Descriptors
	speed         usb.Speed
	configuration uint8
	alternates    map[uint8]uint8 // by interface
}

func newLayout(info usb.Info) layout {
	d, _ := usb.ParseDescriptors(info.Descriptors) // without descriptors no endpoint is isochronous
	return layout{
		descriptors: d, speed: info.Speed, configuration: info.Configuration, alternates: map[uint8]uint8{},
	}
}

// Fits reports whether a device has an isochronous endpoint.
func Fits(info usb.Info) bool {
	l := newLayout(info)
	for _, c := range l.descriptors.Configurations {
		for _, s := range c.Settings {
			for _, e := range s.Endpoints {
				if e.Type == usb.Isochronous {
					return true
				}
			}
		}
	}
	return false
}

// interval returns the interval of an isochronous endpoint in microframes (USB 2.0,
// 9.6.6: 2^(bInterval-1) frames or, from high speed on, microframes). It returns false
// if there is no such endpoint now.
func (l *layout) interval(address usb.Endpoint) (uint32, bool) {
	c, _ := l.descriptors.Configuration(l.configuration)
	e, ok := c.Endpoints(l.alternates)[address]
	if !ok || e.Type != usb.Isochronous {
		return 0, false
	}
	interval := uint32(1) << (min(max(e.Interval, 1), 16) - 1)
	if l.speed < usb.SpeedHigh {
		interval = min(interval, 1<<12) * 8
	}
	return interval, true
}

// ends returns the endpoints whose streams a control request ends, and whether it ends
// all of them.
func (l *layout) ends(s usb.Setup) (ended map[usb.Endpoint]bool, all bool) {
	switch s.Change() {
	case usb.SetConfiguration, usb.PortReset:
		return nil, true
	case usb.SetInterface:
		return l.endpointsOf(uint8(s.Index)), false
	}
	return nil, false
}

// change follows a control request of the driver.
func (l *layout) change(s usb.Setup) {
	switch s.Change() {
	case usb.SetConfiguration:
		l.configuration = uint8(s.Value)
		clear(l.alternates)
	case usb.PortReset:
		clear(l.alternates)
	case usb.SetInterface:
		l.alternates[uint8(s.Index)] = uint8(s.Value)
	}
}

// endpointsOf returns the endpoints of all settings of an interface.
func (l *layout) endpointsOf(number uint8) map[usb.Endpoint]bool {
	endpoints := map[usb.Endpoint]bool{}
	c, _ := l.descriptors.Configuration(l.configuration)
	for _, s := range c.Settings {
		if s.Number != number {
			continue
		}
		for _, e := range s.Endpoints {
			endpoints[e.Address] = true
		}
	}
	return endpoints
}

// isAudio reports whether an endpoint belongs to the USB audio class (01h), where
// silence is zeros.
func (l *layout) isAudio(address usb.Endpoint) bool {
	c, _ := l.descriptors.Configuration(l.configuration)
	for _, s := range c.Settings {
		for _, e := range s.Endpoints {
			if e.Address == address && s.Class == 1 {
				return true
			}
		}
	}
	return false
}
