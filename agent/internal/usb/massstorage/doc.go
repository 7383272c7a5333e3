// Package massstorage is a driver for USB disks: the computer's side of "USB
// Mass Storage Class, Bulk-Only Transport", revision 1.0, over a [usb.Device].
// Demonstrations and tests use it to read a disk without the kernel. Section
// numbers refer to that document.
package massstorage
