package enumeration

import (
	"encoding/binary"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Descriptor types (USB 2.0, table 9-5; USB 3.2, table 9-6; HID 1.11, 7.1).
const (
	typeDevice        = 1
	typeConfiguration = 2
	typeString        = 3
	typeInterface     = 4
	typeQualifier     = 6
	typeBOS           = 15
	typeHID           = 0x21
	typeReport        = 0x22
)

// Values of bmRequestType and bRequest.
const (
	fromDevice    = 0x80
	fromInterface = 0x81
	fromClass     = 0xa1 // of an interface

	getDescriptor = 6
	setDescriptor = 7
	getMaxLUN     = 0xfe // Bulk-Only Transport 1.0, 3.2
)

// Classes with requests that the stage sends ahead.
const (
	classHID     = 0x03
	classStorage = 0x08

	protocolBulkOnly = 0x50
)

// request is a control request without its length.
type request struct {
	kind, code   uint8 // bmRequestType, bRequest
	value, index uint16
}

func requestOf(s usb.Setup) request { return request{s.Type, s.Request, s.Value, s.Index} }

func (r request) setup(length uint16) usb.Setup {
	return usb.Setup{Type: r.kind, Request: r.code, Value: r.value, Index: r.index, Length: length}
}

// descriptor returns the request for a descriptor of the device. language is 0 unless
// it is a string.
func descriptor(kind, number uint8, language uint16) request {
	return request{fromDevice, getDescriptor, uint16(kind)<<8 | uint16(number), language}
}

// descriptorType returns the type of descriptor that r asks the device for, or 0.
func (r request) descriptorType() uint8 {
	if r.kind != fromDevice || r.code != getDescriptor {
		return 0
	}
	return uint8(r.value >> 8)
}

// ofInterface reports whether the answer to r belongs to an interface.
func (r request) ofInterface(number uint16) bool { return r.kind != fromDevice && r.index == number }

// damage holds what a request may change.
type damage uint8

const (
	harmless    damage = iota
	anInterface        // the descriptors of the interface in wIndex
	aDevice            // all descriptors
)

// damageOf returns what a request of a driver may change. active is the configuration
// whose descriptors the stage has.
func damageOf(s usb.Setup, active uint8) damage {
	switch s.Change() {
	case usb.ClearHalt:
		return harmless
	case usb.SetInterface:
		return anInterface
	case usb.SetConfiguration:
		if s.Value == uint16(active) {
			return harmless
		}
		return aDevice
	case usb.PortReset:
		return aDevice
	}
	const in, typeMask, vendor = 0x80, 0x60, 0x40
	isStandard, isVendor := s.Type&typeMask == 0, s.Type&typeMask >= vendor
	if s.Type&in == 0 && (isVendor || isStandard && s.Request == setDescriptor) {
		return aDevice
	}
	return harmless
}

// answer holds what the device has answered to a request.
type answer struct {
	data   []byte
	length int  // wLength of the request
	stall  bool // it was refused
	exact  bool // nothing is known about other lengths
	ending bool // data holds the whole descriptor, although it is as long as asked
}

// serve returns the answer to the same request with another wLength. It returns false
// if only the device knows it.
func (a answer) serve(length int) (data []byte, status usb.Status, ok bool) {
	switch {
	case a.stall:
		return nil, usb.StatusStall, length == a.length
	case a.exact && length != a.length:
		return nil, 0, false
	case length <= len(a.data):
		return a.data[:length], usb.StatusOK, true
	}
	return a.data, usb.StatusOK, a.ending || len(a.data) < a.length
}

// whole returns the answer of a device that has the whole descriptor b.
func whole(b []byte) answer { return answer{data: b, length: len(b), ending: true} }

// reportLengths returns the lengths of the report descriptors of the HID interfaces, in
// alternate setting 0, by interface number.
func reportLengths(configuration []byte) map[uint8]uint16 {
	lengths := map[uint8]uint16{}
	hid := -1 // number of the HID interface that b belongs to
	for b := configuration; len(b) >= 2 && b[0] >= 2 && int(b[0]) <= len(b); b = b[b[0]:] {
		switch {
		case b[1] == typeInterface && b[0] >= 9:
			hid = -1
			if b[5] == classHID && b[3] == 0 {
				hid = int(b[2])
			}
		case b[1] == typeHID && b[0] >= 9 && hid >= 0 && b[6] == typeReport:
			lengths[uint8(hid)] = binary.LittleEndian.Uint16(b[7:])
		}
	}
	return lengths
}

// stringNumbers returns the numbers of the strings that the descriptors of a device
// name, without 0 and duplicates, in the order in which Linux asks for them.
func stringNumbers(device, configuration []byte) []uint8 {
	names := []uint8{device[15], device[14], device[16]} // product, manufacturer, serial number
	for b := configuration; len(b) >= 2 && b[0] >= 2 && int(b[0]) <= len(b); b = b[b[0]:] {
		switch {
		case b[1] == typeConfiguration && b[0] >= 9:
			names = append(names, b[6])
		case b[1] == typeInterface && b[0] >= 9:
			names = append(names, b[8])
		}
	}
	var list []uint8
	seen := map[uint8]bool{0: true}
	for _, n := range names {
		if !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	return list
}

// languages returns the language identifiers in string descriptor 0 (USB 2.0, table
// 9-15).
func languages(b []byte) []uint16 {
	if len(b) < 2 || b[1] != typeString {
		return nil
	}
	b = b[2:max(2, min(len(b), int(b[0])))]
	var list []uint16
	for ; len(b) >= 2; b = b[2:] {
		list = append(list, binary.LittleEndian.Uint16(b))
	}
	return list
}
