package virtual

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// outcome is the result of offering an URB to an endpoint.
type outcome uint8

const (
	// wait means NAK: the endpoint cannot proceed. The rest of the URB is
	// offered again after the next event.
	wait outcome = iota
	// done means that the URB is complete: its buffer is used up, or a short
	// packet ended it.
	done
	// stall means that the endpoint halts after the bytes that it transferred.
	stall
	// babble means that the device has a longer packet than the buffer can hold.
	babble
)

// Gadget is a software device: a [Disk] or a [Keyboard]. The goroutine of the
// opened device calls all methods except describe and attach.
type Gadget interface {
	describe() description
	// attach connects the gadget to the opened device. The zero port
	// disconnects it.
	attach(p port)
	// control runs a request that is specific to the gadget, such as a class
	// request, and returns the data of an IN. out is the data of an OUT. If ok is
	// false, the device answers with a stall.
	control(s usb.Setup, out []byte) (in []byte, ok bool)
	// out handles data from the computer and returns the number of bytes used.
	out(e usb.Endpoint, data []byte) (int, outcome)
	// in writes data for the computer to room and returns the number of bytes.
	in(e usb.Endpoint, room []byte) (int, outcome)
	// reset puts the device into the state after plugging in.
	reset()
}

// port holds the functions of the opened device that a gadget may call.
type port struct {
	wake func()             // makes the device offer the URBs again; callable on any goroutine
	halt func(usb.Endpoint) // halts an endpoint; callable within a method of Gadget only
}

// description holds a gadget's descriptors.
type description struct {
	id            string
	speed         usb.Speed
	device        []byte   // device descriptor
	configuration []byte   // the only configuration, with the descriptors that belong to it
	strings       []string // string descriptors 1, 2, ...
	bos           []byte   // BOS descriptor; nil below SuperSpeed
}

// fits reports whether the controller can receive a transfer of have bytes into
// a buffer of room bytes. Otherwise the last packet would exceed the buffer.
func fits(room, have, maxPacket int) bool {
	return have <= room || room%maxPacket == 0
}
