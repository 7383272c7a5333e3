package virtual

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Standard requests (USB 2.0, table 9-4).
const (
	getStatus        = 0
	clearFeature     = 1
	setFeature       = 3
	setAddress       = 5
	getDescriptor    = 6
	getConfiguration = 8
	getInterface     = 10
)

// Descriptor types (USB 2.0, table 9-5; USB 3.2, table 9-6).
const (
	descriptorDevice        = 1
	descriptorConfiguration = 2
	descriptorString        = 3
	descriptorInterface     = 4
	descriptorEndpoint      = 5
	descriptorQualifier     = 6
	descriptorOtherSpeed    = 7
	descriptorBOS           = 15
	descriptorCompanion     = 48
)

// control runs a control URB.
func (d *device) control(r *request) {
	u := r.urb
	s := u.SetupPacket()
	var out []byte
	if !u.In() {
		out = u.Data[:s.Length]
	}
	in, ok := d.request(s, out)
	if !ok {
		d.finish(r, usb.StatusStall)
		return
	}
	status := usb.StatusOK
	if u.In() {
		r.moved = copy(u.Data, in[:min(len(in), int(s.Length))])
		if u.Flags&usb.ShortNotOK != 0 && r.moved < len(u.Data) {
			status = usb.StatusShortRead
		}
	} else {
		r.moved = len(out)
	}
	d.finish(r, status)
}

// request runs a control request and returns the data of an IN. If ok is false,
// the device answers with a stall.
func (d *device) request(s usb.Setup, out []byte) (in []byte, ok bool) {
	switch s.Change() {
	case usb.SetConfiguration:
		if s.Value != 0 && s.Value != uint16(d.config.Value) {
			return nil, false
		}
		d.gadget.reset()
		d.configure(s.Value != 0)
		return nil, true
	case usb.SetInterface:
		return nil, d.setInterface(s)
	case usb.ClearHalt:
		_, ok = d.endpoints[usb.Endpoint(s.Index)]
		delete(d.halted, usb.Endpoint(s.Index))
		return nil, ok || s.Index&0x0f == 0
	case usb.PortReset:
		d.restart()
		return nil, true
	}
	if s.Type&0x60 == 0 {
		if in, ok = d.standard(s); ok {
			return in, true
		}
	}
	return d.gadget.control(s, out)
}

// setInterface clears the halts of one interface. No gadget has an alternate
// setting other than 0, so nothing else changes.
func (d *device) setInterface(s usb.Setup) bool {
	if !d.configured || s.Index > 0xff || s.Value > 0xff {
		return false
	}
	setting, ok := d.config.Setting(uint8(s.Index), uint8(s.Value))
	for _, e := range setting.Endpoints {
		delete(d.halted, e.Address)
	}
	return ok
}

// standard runs the standard requests for which [usb.Setup.Change] is NoChange.
func (d *device) standard(s usb.Setup) (in []byte, ok bool) {
	recipient := s.Type & 0x1f
	switch s.Request {
	case getStatus:
		return d.status(recipient, s.Index)
	case getDescriptor:
		if recipient == 0 {
			return d.descriptor(uint8(s.Value>>8), int(s.Value&0xff))
		}
	case getConfiguration:
		if d.configured {
			return []byte{d.config.Value}, true
		}
		return []byte{0}, true
	case getInterface:
		_, ok = d.config.Setting(uint8(s.Index), 0)
		return []byte{0}, ok && d.configured
	case setFeature:
		_, ok = d.endpoints[usb.Endpoint(s.Index)]
		if recipient == 2 && s.Value == 0 && ok {
			d.halted[usb.Endpoint(s.Index)] = true
			return nil, true
		}
		return nil, recipient == 0 && s.Value == 1
	case clearFeature:
		return nil, recipient == 0 && s.Value == 1 // remote wake-up, which has no effect here
	case setAddress:
		return nil, recipient == 0
	}
	return nil, false
}

func (d *device) status(recipient uint8, index uint16) ([]byte, bool) {
	switch recipient {
	case 0:
		return []byte{0, 0}, true
	case 1:
		_, ok := d.config.Setting(uint8(index), 0)
		return []byte{0, 0}, ok
	case 2:
		_, ok := d.endpoints[usb.Endpoint(index)]
		if d.halted[usb.Endpoint(index)] {
			return []byte{1, 0}, true
		}
		return []byte{0, 0}, ok || index&0x0f == 0
	}
	return nil, false
}

// descriptor answers GET_DESCRIPTOR of the device.
func (d *device) descriptor(kind uint8, index int) ([]byte, bool) {
	switch kind {
	case descriptorDevice:
		return d.about.device, true
	case descriptorConfiguration:
		return d.about.configuration, index == 0
	case descriptorString:
		if index == 0 {
			return []byte{4, descriptorString, 0x09, 0x04}, true // English (United States)
		}
		if index <= len(d.about.strings) {
			return stringDescriptor(d.about.strings[index-1]), true
		}
	case descriptorQualifier:
		if d.about.speed == usb.SpeedHigh {
			return qualifier(d.about.device), true
		}
	case descriptorOtherSpeed:
		if d.about.speed == usb.SpeedHigh && index == 0 {
			return otherSpeed(d.about.configuration), true
		}
	case descriptorBOS:
		return d.about.bos, d.about.bos != nil
	}
	return nil, false
}
