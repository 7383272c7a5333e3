//go:build !libusb

package libusb

import (
	"errors"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// New returns an error: this build has no libusb.
func New(Config) (usb.Bus, error) {
	return nil, errors.New("this build of easyfind has no libusb backend: " +
		"build it with -tags libusb (it needs cgo and libusb-1.0), or use --backend usbfs")
}
