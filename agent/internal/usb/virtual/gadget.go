package virtual

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// outcome is what an endpoint did with an offer.
type outcome uint8

const (
	// wait: NAK. The rest of the URB is offered again after the next event.
	wait outcome = iota
	// done: the URB is complete, be it by a short packet or because it is full.
	done
	// stall: the endpoint halts after what was moved.
	stall
	// babble: the device has more for the packet than the computer has room.
	babble
)

// Gadget is a device in software: a [Disk] or a [Keyboard]. All methods but
// describe and attach are called by the goroutine that runs the opened device.
type Gadget interface {
	describe() description
	// attach hands over what the device needs of the one who runs it; the zero
	// port takes it back.
	attach(p port)
	// control answers a request that the device as a whole does not know; ok is
	// false for a stall. out is the data stage of an OUT request.
	control(s usb.Setup, out []byte) (in []byte, ok bool)
	// out takes data that the computer sent and returns how much of it.
	out(e usb.Endpoint, data []byte) (int, outcome)
	// in fills room and returns how many bytes.
	in(e usb.Endpoint, room []byte) (int, outcome)
	// reset brings the device to the state that it has when plugged in.
	reset()
}

// port is what a gadget may ask of the opened device.
type port struct {
	wake func()             // makes the endpoints be asked again; on any goroutine
	halt func(usb.Endpoint) // halts one from now on; within a method of Gadget only
}

// description is what a gadget says of itself.
type description struct {
	id            string
	speed         usb.Speed
	device        []byte   // device descriptor
	configuration []byte   // the one configuration, whole
	strings       []string // number 1 and on
	bos           []byte   // nil below SuperSpeed
}

// fits reports whether a packet of have bytes can go into room: a transfer
// ends in an error if the last packet is longer than what is left for it.
func fits(room, have, maxPacket int) bool {
	return have <= room || room%maxPacket == 0
}
