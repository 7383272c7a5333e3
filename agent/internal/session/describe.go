package session

import (
	"crypto/sha256"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Describe returns the description of a device in the form of the tunnel.
func Describe(i usb.Info) tunnel.Device {
	d := tunnel.Device{
		ID: i.ID, Name: i.Name(), Speed: uint8(i.Speed),
		Vendor: i.Vendor, Product: i.Product, Release: i.Release,
		Class: i.Class, SubClass: i.SubClass, Protocol: i.Protocol, Serial: i.Serial,
		Configuration: i.Configuration, NumConfigurations: i.NumConfigurations,
		InUseBy: i.InUse, Descriptors: i.Descriptors,
	}
	for _, f := range i.Interfaces {
		d.Interfaces = append(d.Interfaces, tunnel.Interface(f))
	}
	return d
}

// InfoOf is the reverse of [Describe]. The numbers of the bus and of the device on it have a meaning on the host
// only, and are 0.
func InfoOf(d tunnel.Device) usb.Info {
	i := usb.Info{
		ID: d.ID, Backend: "far", ProductName: d.Name, Speed: usb.Speed(d.Speed),
		Vendor: d.Vendor, Product: d.Product, Release: d.Release,
		Class: d.Class, SubClass: d.SubClass, Protocol: d.Protocol, Serial: d.Serial,
		Configuration: d.Configuration, NumConfigurations: d.NumConfigurations,
		InUse: d.InUseBy, Descriptors: d.Descriptors,
	}
	for _, f := range d.Interfaces {
		i.Interfaces = append(i.Interfaces, usb.Interface(f))
	}
	return i
}

// Fingerprint returns the value of tunnel.Attach.Expect for a device with these descriptors.
func Fingerprint(descriptors []byte) []byte {
	sum := sha256.Sum256(descriptors)
	return sum[:]
}
