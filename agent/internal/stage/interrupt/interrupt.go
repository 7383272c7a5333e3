// Package interrupt chooses the interrupt IN endpoints whose reports a client fetches
// ahead; see package ahead.
//
// A poll of an interrupt IN endpoint takes the report from the device and has no other
// effect, as far as a class defines the endpoint. These classes are chosen:
//
//   - HID (mouse, keyboard, tablet): the driver polls all the time. The transfers for
//     a round trip are posted from the start, so that no report waits.
//   - HID with an OUT endpoint (security keys, game pads, measuring instruments), unless
//     it is a boot device: programs may read one report after each request. Transfers
//     are posted ahead when the driver is seen to take reports at once.
//   - Communications, smart card, still image, wireless controller: notifications. As
//     above.
//   - Game pads of the Xbox, whose vendor-specific protocol is known (Linux:
//     drivers/input/joystick/xpad.c).
//
// All other vendor-specific endpoints are left alone, because a poll of a device of
// unknown protocol may have an effect.
//
// A FIDO security key answers each request with reports (CTAP 2.1, 11.2). Its OUT reports
// are answered early. The usage page at the start of the report descriptor shows that a
// HID interface is one.
package interrupt

import (
	"bytes"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/ahead"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Classes of interfaces.
const (
	classCommunications = 0x02
	classHID            = 0x03
	classImage          = 0x06
	classSmartCard      = 0x0b
	classWireless       = 0xe0
	classVendor         = 0xff
)

const (
	manyReports = 192 // enough for a round trip of 125 ms at 1000 Hz
	// reportTTL is the time that a report stays in the stage when its driver has cancelled
	// its URBs. A driver that comes back later wants the current state.
	reportTTL = time.Second
)

// Plan returns the endpoints of the active configuration.
func Plan(info usb.Info) ahead.Plan {
	plan := ahead.Plan{In: map[usb.Endpoint]ahead.Policy{}, Out: map[usb.Endpoint]ahead.Early{}}
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return plan
	}
	active, _ := d.Configuration(info.Configuration)
	for _, setting := range active.Settings {
		if setting.Alternate == 0 {
			add(plan, setting, info.Speed)
		}
	}
	return plan
}

// add adds the endpoints of an interface.
func add(plan ahead.Plan, setting usb.Setting, speed usb.Speed) {
	in, out := endpoints(setting)
	polled, ok := isPolled(setting.Interface, len(out) > 0)
	if !ok {
		return
	}
	first := 0
	if polled {
		first = manyReports
	}
	for _, e := range in {
		plan.In[e.Address] = ahead.Policy{
			Interface: setting.Number, MaxPacket: max(1, int(e.MaxPacket)), First: first, Max: manyReports,
			Interval: ahead.Interval(speed, e.Interval), TTL: reportTTL,
		}
	}
	if setting.Class == classHID && len(in) == 1 && len(out) == 1 {
		plan.Out[out[0].Address] = ahead.Early{
			In: in[0].Address,
			Proof: func(s usb.Setup, answer []byte) bool {
				return isReportDescriptor(s, setting.Number) && bytes.HasPrefix(answer, fidoUsagePage)
			},
		}
	}
}

// endpoints returns the interrupt endpoints of an interface.
func endpoints(setting usb.Setting) (in, out []usb.EndpointDescriptor) {
	for _, e := range setting.Endpoints {
		switch {
		case e.Type != usb.Interrupt:
		case e.Address.In():
			in = append(in, e)
		default:
			out = append(out, e)
		}
	}
	return in, out
}

// isPolled reports whether reports of an interface may be fetched ahead (ok), and whether
// its driver polls all the time.
func isPolled(i usb.Interface, hasOut bool) (polled, ok bool) {
	switch i.Class {
	case classHID:
		const boot = 1 // bInterfaceSubClass of keyboards and mice (HID 1.11, 4.2)
		return !hasOut || i.SubClass == boot, true
	case classCommunications, classImage, classSmartCard, classWireless:
		return false, true
	case classVendor:
		isXbox := i.SubClass == 0x5d && i.Protocol == 0x01 || i.SubClass == 0x47 && i.Protocol == 0xd0
		return isXbox, isXbox
	}
	return false, false
}

// fidoUsagePage begins the report descriptor of a FIDO device (CTAP 2.1, 11.2.8.1).
var fidoUsagePage = []byte{0x06, 0xd0, 0xf1}

// isReportDescriptor reports whether a request fetches the report descriptor of an
// interface (HID 1.11, 7.1.1).
func isReportDescriptor(s usb.Setup, number uint8) bool {
	return s.Type == 0x81 && s.Request == 6 && s.Value == 0x2200 && s.Index == uint16(number)
}
