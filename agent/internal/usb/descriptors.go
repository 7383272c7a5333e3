package usb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// TransferType is bits 0 and 1 of an endpoint's bmAttributes (USB 2.0, 9.6.6).
type TransferType uint8

// The transfer types.
const (
	Control     TransferType = 0
	Isochronous TransferType = 1
	Bulk        TransferType = 2
	Interrupt   TransferType = 3
)

// Descriptor types (USB 2.0, table 9-5).
const (
	typeDevice        = 1
	typeConfiguration = 2
	typeInterface     = 4
	typeEndpoint      = 5
)

// MaxDescriptors is the greatest length of [Info.Descriptors] in bytes: the
// device descriptor and 8 configurations (the kernel's USB_MAXCONFIG) of the
// greatest length that wTotalLength can express.
const MaxDescriptors = 18 + 8*0xffff

// ErrDescriptors is returned for descriptors that break USB 2.0, chapter 9.
var ErrDescriptors = errors.New("malformed USB descriptors")

// Descriptors holds the parts of [Info.Descriptors] that are needed to run URBs.
type Descriptors struct {
	Device         []byte // 18 bytes
	Configurations []Configuration
}

// Configuration holds a configuration descriptor and the descriptors after it
// that belong to it.
type Configuration struct {
	Value    uint8  // bConfigurationValue
	Raw      []byte // wTotalLength bytes, or fewer if the input ends before
	Settings []Setting
}

// Setting is one alternate setting of an interface.
type Setting struct {
	Interface
	Alternate uint8
	Endpoints []EndpointDescriptor
}

// EndpointDescriptor describes an endpoint other than 0.
type EndpointDescriptor struct {
	Address   Endpoint
	Type      TransferType
	MaxPacket uint16 // bytes in one packet: bits 0 to 10 of wMaxPacketSize
	Interval  uint8  // bInterval
}

// ParseDescriptors parses [Info.Descriptors]. Many devices violate the
// specification. Therefore descriptors of unknown type or in the wrong place
// are skipped, as in the kernel (drivers/usb/core/config.c). Errors wrap
// ErrDescriptors.
func ParseDescriptors(b []byte) (Descriptors, error) {
	if len(b) > MaxDescriptors {
		return Descriptors{}, fmt.Errorf("%w: %d bytes", ErrDescriptors, len(b))
	}
	if len(b) < 18 || b[0] < 18 || b[1] != typeDevice {
		return Descriptors{}, fmt.Errorf("%w: no device descriptor", ErrDescriptors)
	}
	d := Descriptors{Device: b[:18]}
	for b = b[18:]; len(b) > 0; {
		if len(b) < 9 || b[0] < 9 || b[1] != typeConfiguration {
			return Descriptors{}, fmt.Errorf("%w: a configuration descriptor is missing", ErrDescriptors)
		}
		total := min(int(binary.LittleEndian.Uint16(b[2:])), len(b))
		if total < 9 {
			return Descriptors{}, fmt.Errorf("%w: configuration of %d bytes", ErrDescriptors, total)
		}
		c, err := parseConfiguration(b[:total])
		if err != nil {
			return Descriptors{}, err
		}
		d.Configurations = append(d.Configurations, c)
		b = b[total:]
	}
	return d, nil
}

func parseConfiguration(raw []byte) (Configuration, error) {
	c := Configuration{Value: raw[5], Raw: raw}
	for b := raw; len(b) > 0; b = b[b[0]:] {
		if len(b) < 2 || b[0] < 2 || int(b[0]) > len(b) {
			return Configuration{}, fmt.Errorf("%w: a descriptor ends after its configuration", ErrDescriptors)
		}
		switch {
		case b[1] == typeInterface && b[0] >= 9:
			c.Settings = append(c.Settings, Setting{
				Interface: Interface{Number: b[2], Class: b[5], SubClass: b[6], Protocol: b[7]},
				Alternate: b[3],
			})
		case b[1] == typeEndpoint && b[0] >= 7 && len(c.Settings) > 0 && b[2]&0x0f != 0:
			s := &c.Settings[len(c.Settings)-1]
			s.Endpoints = append(s.Endpoints, EndpointDescriptor{
				Address:   Endpoint(b[2] & 0x8f),
				Type:      TransferType(b[3] & 3),
				MaxPacket: binary.LittleEndian.Uint16(b[4:]) & 0x07ff,
				Interval:  b[6],
			})
		}
	}
	return c, nil
}

// Configuration returns the configuration with that bConfigurationValue.
func (d Descriptors) Configuration(value uint8) (Configuration, bool) {
	for _, c := range d.Configurations {
		if c.Value == value {
			return c, true
		}
	}
	return Configuration{}, false
}

// Setting returns the alternate setting of the interface with that number.
func (c Configuration) Setting(number, alternate uint8) (Setting, bool) {
	for _, s := range c.Settings {
		if s.Number == number && s.Alternate == alternate {
			return s, true
		}
	}
	return Setting{}, false
}

// Interfaces returns alternate setting 0 of each interface, in the order of the
// descriptors.
func (c Configuration) Interfaces() []Interface {
	var list []Interface
	for _, s := range c.Settings {
		if s.Alternate == 0 {
			list = append(list, s.Interface)
		}
	}
	return list
}

// Endpoints returns the endpoints that exist while each interface uses the
// alternate setting in alternates, which is keyed by interface number. An
// interface that is not in alternates uses setting 0.
func (c Configuration) Endpoints(alternates map[uint8]uint8) map[Endpoint]EndpointDescriptor {
	m := make(map[Endpoint]EndpointDescriptor)
	for _, s := range c.Settings {
		if s.Alternate != alternates[s.Number] {
			continue
		}
		for _, e := range s.Endpoints {
			m[e.Address] = e
		}
	}
	return m
}

// Describe sets the fields of i that come from descriptors. configuration is
// the bConfigurationValue of the active configuration, or 0.
func (d Descriptors) Describe(i *Info, configuration uint8) {
	b := d.Device
	i.Class, i.SubClass, i.Protocol = b[4], b[5], b[6]
	i.Vendor = binary.LittleEndian.Uint16(b[8:])
	i.Product = binary.LittleEndian.Uint16(b[10:])
	i.Release = binary.LittleEndian.Uint16(b[12:])
	i.NumConfigurations = b[17]
	i.Configuration, i.Interfaces = configuration, nil
	if c, ok := d.Configuration(configuration); ok {
		i.Interfaces = c.Interfaces()
	}
}
