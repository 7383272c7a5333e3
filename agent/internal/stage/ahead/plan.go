package ahead

import (
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Plan lists the endpoints that a Stage handles.
type Plan struct {
	In  map[usb.Endpoint]Policy
	Out map[usb.Endpoint]Early
	// Effect returns the effect of a control request on the data that an interface has for
	// the computer. Nil: no request has one.
	Effect func(s usb.Setup, number uint8) Effect
}

// IsEmpty reports whether the plan has no endpoint.
func (p Plan) IsEmpty() bool { return len(p.In) == 0 && len(p.Out) == 0 }

// Policy holds the bounds of the transfers that are posted ahead for an IN endpoint.
type Policy struct {
	Interface uint8 // that has the endpoint
	Alternate uint8 // the setting of the interface that has it
	MaxPacket int   // bytes
	First     int   // transfers that may be posted ahead at first
	Max       int   // and later
	// Interval is the shortest time between two transfers of the device.
	Interval time.Duration
	TTL      time.Duration // of data that arrive for a driver that has cancelled its URBs
}

// Early describes an OUT endpoint whose transfers are answered early.
type Early struct {
	In usb.Endpoint // of the responses; the plan has a Policy for it
	// Proof reports whether the answer to a control request shows that the responses are
	// verdicts. Nil: the descriptors show it.
	Proof func(s usb.Setup, answer []byte) bool
}

// Effect is the effect of a control request on received data.
type Effect uint8

// The effects.
const (
	NoEffect Effect = iota
	Purges          // the device drops what it has received
	HangsUp         // the program closes the device if it cancels its transfers next
)

// Interval returns the time between two polls of an interrupt endpoint. Host controllers
// round bInterval down to a power of two (Linux: drivers/usb/host/ehci-sched.c, xhci-mem.c).
func Interval(speed usb.Speed, interval uint8) time.Duration {
	interval = max(interval, 1)
	if speed >= usb.SpeedHigh { // 2^(bInterval-1) microframes (USB 2.0, table 9-13)
		return 125 * time.Microsecond << (min(interval, 16) - 1)
	}
	frames := time.Millisecond
	for 2*frames <= time.Duration(interval)*time.Millisecond {
		frames *= 2
	}
	return frames
}
