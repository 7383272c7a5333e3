//go:build !linux

package usbfs

import (
	"errors"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// New returns an error: only Linux has usbfs.
func New(Config) (usb.Bus, error) {
	return nil, errors.New("usbfs exists on Linux only: use the backend libusb here")
}
