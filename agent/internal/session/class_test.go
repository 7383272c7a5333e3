package session

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// describeWith returns descriptors with one configuration of the given interface and endpoint descriptors.
func describeWith(vendor, product uint16, parts ...[]byte) []byte {
	total := 9
	for _, p := range parts {
		total += len(p)
	}
	b := []byte{
		18, 1, 0, 2, 0, 0, 0, 64, byte(vendor), byte(vendor >> 8), byte(product), byte(product >> 8), 0, 1, 0, 0, 0, 1,
		9, 2, byte(total), byte(total >> 8), 1, 1, 0, 0x80, 50,
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func TestClassesFollowDescriptors(t *testing.T) {
	setting := func(number, alternate, class, subclass byte) []byte {
		return []byte{9, 4, number, alternate, 1, class, subclass, 0, 0}
	}
	endpoint := func(address, attributes byte) []byte { return []byte{7, 5, address, attributes, 64, 0, 1} }
	for name, c := range map[string]struct {
		descriptors []byte
		want        map[byte]tunnel.Class
	}{
		"keyboard and disk": {
			describeWith(0x1209, 1, setting(0, 0, 3, 1), endpoint(0x81, 3), setting(1, 0, 8, 6), endpoint(0x82, 2)),
			map[byte]tunnel.Class{0: tunnel.ClassInteractive, 0x81: tunnel.ClassInteractive, 0x82: tunnel.ClassBulk},
		},
		"modem and disk": {
			describeWith(0x1209, 1, setting(0, 0, 2, 2), endpoint(0x81, 3), setting(1, 0, 10, 0), endpoint(0x82, 2),
				endpoint(0x02, 2), setting(2, 0, 8, 6), endpoint(0x83, 2)),
			map[byte]tunnel.Class{0x82: tunnel.ClassSerial, 0x02: tunnel.ClassSerial, 0x83: tunnel.ClassBulk},
		},
		"serial adapter with a class of its vendor": {
			describeWith(0x0403, 0x6001, setting(0, 0, 0xff, 0xff), endpoint(0x81, 2), endpoint(0x02, 2)),
			map[byte]tunnel.Class{0x81: tunnel.ClassSerial, 0x02: tunnel.ClassSerial},
		},
		"network card with data like a modem": {
			describeWith(0x1209, 1, setting(0, 0, 2, 6), endpoint(0x81, 3), setting(1, 0, 10, 0), endpoint(0x82, 2)),
			map[byte]tunnel.Class{0x82: tunnel.ClassBulk},
		},
		"camera that can also send in bulk": {
			describeWith(0x1209, 1, setting(0, 0, 14, 2), endpoint(0x81, 2), setting(0, 1, 14, 2), endpoint(0x81, 1),
				setting(1, 1, 1, 2), endpoint(0x02, 1)),
			map[byte]tunnel.Class{0x81: tunnel.ClassBulk, 0x02: tunnel.ClassIsochronous},
		},
		"broken descriptors": {[]byte{1}, map[byte]tunnel.Class{0: tunnel.ClassInteractive, 0x81: tunnel.ClassBulk}},
	} {
		classes := laneClasses(c.descriptors)
		for e, want := range c.want {
			if got := classes[endpointSlot(usb.Endpoint(e))]; got != want {
				t.Errorf("%s: endpoint %#x has class %d, want %d", name, e, got, want)
			}
		}
	}
}
