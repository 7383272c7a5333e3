package virtual

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// The vendor is pid.codes, which reserves its products 0001 to 0010 for tests.
const (
	vendor          = 0x1209
	productDisk     = 0x0001
	productKeyboard = 0x0002
	release         = 0x0100
)

// deviceDescriptor returns a device descriptor. Strings 1, 2 and 3 are
// manufacturer, product and serial number. The class is 0: each interface has a
// class of its own.
func deviceDescriptor(speed usb.Speed, product uint16) []byte {
	version, packet := uint16(0x0200), byte(64)
	if speed >= usb.SpeedSuper {
		version, packet = 0x0300, 9 // USB 3 gives the exponent: 2^9 bytes
	}
	b := []byte{18, descriptorDevice, 0, 0, 0, 0, 0, packet, 0, 0, 0, 0, 0, 0, 1, 2, 3, 1}
	binary.LittleEndian.PutUint16(b[2:], version)
	binary.LittleEndian.PutUint16(b[8:], vendor)
	binary.LittleEndian.PutUint16(b[10:], product)
	binary.LittleEndian.PutUint16(b[12:], release)
	return b
}

// configurationDescriptor returns a configuration descriptor with one interface,
// whose descriptors are given.
func configurationDescriptor(milliamperes int, interfaces ...[]byte) []byte {
	body := slices.Concat(interfaces...)
	b := []byte{9, descriptorConfiguration, 0, 0, 1, 1, 0, 0x80, byte(milliamperes / 2)}
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)+len(body)))
	return append(b, body...)
}

// interfaceDescriptor returns the descriptor of interface 0, setting 0.
func interfaceDescriptor(endpoints int, class, subclass, protocol byte) []byte {
	return []byte{9, descriptorInterface, 0, 0, byte(endpoints), class, subclass, protocol, 0}
}

func endpointDescriptor(e usb.Endpoint, t usb.TransferType, maxPacket uint16, interval byte) []byte {
	b := []byte{7, descriptorEndpoint, byte(e), byte(t), 0, 0, interval}
	binary.LittleEndian.PutUint16(b[4:], maxPacket)
	return b
}

// companion returns a SuperSpeed endpoint companion descriptor (USB 3.2, 9.6.7)
// for bursts of 16 packets.
func companion() []byte { return []byte{6, descriptorCompanion, 15, 0, 0, 0} }

// superSpeedBOS returns a BOS descriptor with the capabilities USB 2.0 extension
// (LPM) and SuperSpeed (USB 3.2, 9.6.2).
func superSpeedBOS() []byte {
	return []byte{
		5, descriptorBOS, 22, 0, 2,
		7, 16, 2, 0x02, 0, 0, 0,
		10, 16, 3, 0, 0x0e, 0, 1, 10, 0xff, 0x07,
	}
}

// qualifier returns the device qualifier of a high-speed device (USB 2.0,
// 9.6.2). At full speed its device descriptor is the same.
func qualifier(device []byte) []byte {
	return []byte{
		10, descriptorQualifier, device[2], device[3], device[4], device[5], device[6], device[7], device[17], 0,
	}
}

// otherSpeed returns the configuration of a high-speed device at full speed
// (USB 2.0, 9.6.4), where bulk packets have 64 bytes.
func otherSpeed(configuration []byte) []byte {
	b := slices.Clone(configuration)
	b[1] = descriptorOtherSpeed
	for at := 0; at < len(b); at += int(b[at]) {
		if b[at+1] == descriptorEndpoint && b[at+3]&3 == byte(usb.Bulk) {
			binary.LittleEndian.PutUint16(b[at+4:], 64)
		}
	}
	return b
}

// stringDescriptor returns a string descriptor. It cuts s to the 126 UTF-16
// units that fit.
func stringDescriptor(s string) []byte {
	units := utf16.Encode([]rune(s))
	units = units[:min(len(units), 126)]
	b := []byte{byte(2 + 2*len(units)), descriptorString}
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
