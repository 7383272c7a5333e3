// Package usbfs implements [usb.Bus] for the USB devices of a Linux machine. It
// finds devices in sysfs and submits URBs asynchronously through the device
// nodes in /dev/bus/usb, without cgo. The kernel's side is described in
// Documentation/driver-api/usb/usb.rst, include/uapi/linux/usbdevice_fs.h and
// drivers/usb/core/devio.c.
package usbfs

// Config holds the mount points of the kernel's file systems. The zero value is
// right on every running system; tests use directories of their own.
type Config struct {
	Sys  string // default "/sys"
	Dev  string // default "/dev/bus/usb"
	Proc string // default "/proc"
}
