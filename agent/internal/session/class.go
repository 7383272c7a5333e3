package session

import (
	"encoding/binary"
	"slices"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Interface classes and subclasses (USB class codes).
const (
	classCommunications   = 0x02
	classData             = 0x0a
	subclassAbstractModem = 0x02 // CDC-ACM
)

// serialAdapters are adapters with a class of their vendor, by vendor. The products are those of the drivers in Linux
// that the comments name (drivers/usb/serial).
var serialAdapters = map[uint16][]uint16{
	0x0403: {0x6001, 0x6010, 0x6011, 0x6014, 0x6015},                         // FTDI: ftdi_sio_ids.h
	0x067b: {0x2303, 0x2304, 0x23a3, 0x23b3, 0x23c3, 0x23d3, 0x23e3, 0x23f3}, // Prolific: pl2303.h
	0x10c4: {0xea60, 0xea61, 0xea63, 0xea70, 0xea71, 0xea80},                 // Silicon Labs: cp210x.c
	0x1a86: {0x5523, 0x7522, 0x7523, 0xe523},                                 // WCH: ch341.c
}

// laneClasses returns the classes of the lanes of a device's endpoints. An endpoint that has several transfer types
// gets the least urgent class. Endpoints that are not in the result are of ClassBulk.
func laneClasses(descriptors []byte) [endpointSlots]tunnel.Class {
	var classes [endpointSlots]tunnel.Class
	classes[0] = tunnel.ClassInteractive
	parsed, err := usb.ParseDescriptors(descriptors)
	if err != nil {
		return classes
	}
	vendor := binary.LittleEndian.Uint16(parsed.Device[8:]) // idVendor and idProduct: USB 2.0, table 9-8
	isAdapter := slices.Contains(serialAdapters[vendor], binary.LittleEndian.Uint16(parsed.Device[10:]))
	var known [endpointSlots]bool
	for _, c := range parsed.Configurations {
		isModem := slices.ContainsFunc(c.Settings, func(s usb.Setting) bool {
			return s.Class == classCommunications && s.SubClass == subclassAbstractModem
		})
		for _, s := range c.Settings {
			isSerial := isAdapter || isModem && s.Class == classData
			for _, e := range s.Endpoints {
				class, i := laneClass(e.Type, isSerial), endpointSlot(e.Address)
				if !known[i] || class < classes[i] {
					known[i], classes[i] = true, class
				}
			}
		}
	}
	return classes
}

func laneClass(t usb.TransferType, isSerial bool) tunnel.Class {
	switch {
	case t == usb.Control || t == usb.Interrupt:
		return tunnel.ClassInteractive
	case t == usb.Isochronous:
		return tunnel.ClassIsochronous
	case isSerial:
		return tunnel.ClassSerial
	}
	return tunnel.ClassBulk
}
