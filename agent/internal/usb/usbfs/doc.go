// Package usbfs is the bus of a Linux machine: devices are found in sysfs and
// run through /dev/bus/usb, asynchronously and without cgo
// (Documentation/driver-api/usb/usb.rst, include/uapi/linux/usbdevice_fs.h,
// drivers/usb/core/devio.c).
package usbfs

// Config says where the kernel shows its devices. The zero value is right on
// every running system; tests have trees of their own.
type Config struct {
	Sys  string // default "/sys"
	Dev  string // default "/dev/bus/usb"
	Proc string // default "/proc"
}
