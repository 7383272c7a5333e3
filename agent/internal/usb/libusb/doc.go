// Package libusb is the portable bus, through github.com/google/gousb. It needs
// cgo and libusb-1.0, and is therefore built only with the tag libusb.
//
// What gousb does not offer is missing here: isochronous transfers, SuperSpeed
// streams, more than one transfer at work on an endpoint, cancelling a control
// transfer that has begun. It has no "clear halt" either, see [device.change].
// On Linux the package usbfs does all of that.
package libusb

import "github.com/easyfind-usb/easyfind/agent/internal/usb"

// Config says what libusb cannot find out.
type Config struct {
	// InUse says why a device is not to be taken, or "". It may be nil: then
	// nobody keeps a mounted disk from being taken.
	InUse func(usb.Info) string
}
