// Package libusb implements [usb.Bus] on all systems that libusb supports,
// through github.com/google/gousb. It needs cgo and libusb-1.0 and is therefore
// built only with the tag "libusb".
//
// The package lacks the features that gousb lacks: isochronous transfers,
// SuperSpeed streams, several transfers in flight on one endpoint, and the
// cancellation of a control transfer that has started. For "clear halt" see
// device.change. On Linux, package usbfs has all of them.
package libusb

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// Config holds the parameters of New.
type Config struct {
	// InUse returns the value of [usb.Info.InUse]: the reason why the device must
	// not be opened, or "". libusb cannot find it out. If InUse is nil, devices
	// such as mounted disks are not protected.
	InUse func(usb.Info) string
}
