package usbip

import (
	"bytes"
	"encoding/binary"
)

// Device describes a device (struct usbip_usb_device), 312 bytes:
//
//	path 256 │ busid 32 │ busnum 4 │ devnum 4 │ speed 4 │ vendor 2 │ product 2 │ bcdDevice 2 │
//	class 1 │ subclass 1 │ protocol 1 │ configuration 1 │ configurations 1 │ interfaces 1
type Device struct {
	Path                                            string // in the exporter's sysfs; at most 255 bytes
	BusID                                           string // such as "1-1.2"; at most 31 bytes
	BusNum, DevNum                                  uint32
	Speed                                           uint32 // enum usb_device_speed
	Vendor, Product, Release                        uint16
	Class, SubClass, Protocol                       uint8
	Configuration, NumConfigurations, NumInterfaces uint8
}

const deviceSize = maxPath + maxBusID + 24

// DevID returns the number that identifies the device in [Header.DevID].
func (d *Device) DevID() uint32 { return d.BusNum<<16 | d.DevNum&0xffff }

func (d *Device) appendTo(b []byte) []byte {
	fixed := make([]byte, maxPath+maxBusID)
	copy(fixed[:maxPath-1], d.Path)
	copy(fixed[maxPath:maxPath+maxBusID-1], d.BusID)
	b = append(b, fixed...)
	for _, v := range []uint32{d.BusNum, d.DevNum, d.Speed} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	for _, v := range []uint16{d.Vendor, d.Product, d.Release} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, d.Class, d.SubClass, d.Protocol, d.Configuration, d.NumConfigurations, d.NumInterfaces)
}

// parseDevice parses b, which has deviceSize bytes.
func parseDevice(b []byte) (Device, error) {
	path, _, okPath := bytes.Cut(b[:maxPath], []byte{0})
	busID, _, okID := bytes.Cut(b[maxPath:maxPath+maxBusID], []byte{0})
	if !okPath || !okID {
		return Device{}, malformed("path or bus ID of a device without a final zero")
	}
	b = b[maxPath+maxBusID:]
	u32, u16 := binary.BigEndian.Uint32, binary.BigEndian.Uint16
	return Device{
		Path: string(path), BusID: string(busID),
		BusNum: u32(b), DevNum: u32(b[4:]), Speed: u32(b[8:]),
		Vendor: u16(b[12:]), Product: u16(b[14:]), Release: u16(b[16:]),
		Class: b[18], SubClass: b[19], Protocol: b[20],
		Configuration: b[21], NumConfigurations: b[22], NumInterfaces: b[23],
	}, nil
}
