package usbip

import (
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

// describe converts the description of a device to USB/IP's.
func describe(i usb.Info) wire.ListedDevice {
	d := wire.ListedDevice{Device: wire.Device{
		Path: "/easyfind/" + i.ID, BusID: i.ID,
		BusNum: i.BusNumber, DevNum: i.DeviceNumber, Speed: vhciSpeed(i.Speed),
		Vendor: i.Vendor, Product: i.Product, Release: i.Release,
		Class: i.Class, SubClass: i.SubClass, Protocol: i.Protocol,
		Configuration: i.Configuration, NumConfigurations: i.NumConfigurations,
		NumInterfaces: uint8(len(i.Interfaces)),
	}}
	for _, f := range i.Interfaces {
		d.Interfaces = append(d.Interfaces, wire.InterfaceClass{
			Class: f.Class, SubClass: f.SubClass, Protocol: f.Protocol,
		})
	}
	return d
}

// infoOf converts USB/IP's description of a device. USB/IP carries no descriptors
// and no strings.
func infoOf(d wire.ListedDevice) usb.Info {
	i := usb.Info{
		ID: d.BusID, Backend: "usbip", BusNumber: d.BusNum, DeviceNumber: d.DevNum,
		Speed:  usb.Speed(min(d.Speed, uint32(usb.SpeedSuperPlus))),
		Vendor: d.Vendor, Product: d.Product, Release: d.Release,
		Class: d.Class, SubClass: d.SubClass, Protocol: d.Protocol,
		Configuration: d.Configuration, NumConfigurations: d.NumConfigurations,
	}
	for n, f := range d.Interfaces {
		i.Interfaces = append(i.Interfaces, usb.Interface{
			Number: uint8(n), Class: f.Class, SubClass: f.SubClass, Protocol: f.Protocol,
		})
	}
	return i
}

// vhciSpeed returns a speed that vhci_hcd accepts. It refuses SpeedSuperPlus and
// SpeedUnknown.
func vhciSpeed(s usb.Speed) uint32 {
	switch s {
	case usb.SpeedSuperPlus:
		return uint32(usb.SpeedSuper)
	case usb.SpeedUnknown:
		return uint32(usb.SpeedHigh)
	}
	return uint32(s)
}
