package usbip

import (
	"encoding/binary"
	"io"
)

// ReqDevlist requests the list of exported devices (OP_REQ_DEVLIST). It has no
// fields.
type ReqDevlist struct{}

func (*ReqDevlist) request() {}

// AppendTo appends the message to b.
func (*ReqDevlist) AppendTo(b []byte) []byte { return appendOp(b, opRequest|opDevlist, 0) }

// RepDevlist is the reply to ReqDevlist (OP_REP_DEVLIST), with at most MaxDevices
// devices:
//
//	count 4 │ for each device: Device 312 │ for each of its interfaces: 4 bytes:
//	class 1 │ subclass 1 │ protocol 1 │ padding 1
type RepDevlist struct{ Devices []ListedDevice }

// ListedDevice is a device with its interfaces. The encoder sets
// Device.NumInterfaces to their number.
type ListedDevice struct {
	Device
	Interfaces []InterfaceClass // at most 255
}

// InterfaceClass holds the class codes of an interface.
type InterfaceClass struct{ Class, SubClass, Protocol uint8 }

// AppendTo appends the message to b.
func (m *RepDevlist) AppendTo(b []byte) []byte {
	b = appendOp(b, opDevlist, StatusOK)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Devices)))
	for _, d := range m.Devices {
		d.NumInterfaces = uint8(len(d.Interfaces))
		b = d.appendTo(b)
		for _, i := range d.Interfaces {
			b = append(b, i.Class, i.SubClass, i.Protocol, 0)
		}
	}
	return b
}

// ReadRepDevlist reads the reply to a ReqDevlist. Errors wrap ErrMalformed or the
// error of r.
func ReadRepDevlist(r io.Reader) (*RepDevlist, error) {
	status, err := readReply(r, opDevlist)
	if err != nil {
		return nil, err
	}
	if status != StatusOK {
		return nil, malformed("device list with status %d", status)
	}
	head, err := readRest(r, 4)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n > MaxDevices {
		return nil, malformed("%d devices, limit %d", n, MaxDevices)
	}
	m := &RepDevlist{Devices: make([]ListedDevice, n)}
	for i := range m.Devices {
		if err := m.Devices[i].readFrom(r); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (d *ListedDevice) readFrom(r io.Reader) error {
	b, err := readRest(r, deviceSize)
	if err != nil {
		return err
	}
	if d.Device, err = parseDevice(b); err != nil {
		return err
	}
	if b, err = readRest(r, 4*int(d.NumInterfaces)); err != nil {
		return err
	}
	for ; len(b) > 0; b = b[4:] {
		d.Interfaces = append(d.Interfaces, InterfaceClass{b[0], b[1], b[2]})
	}
	return nil
}
