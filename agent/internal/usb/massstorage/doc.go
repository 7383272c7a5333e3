// Package massstorage reads disks: a small computer's end of "USB Mass Storage
// Class, Bulk-Only Transport" over a [usb.Device], near or far. It is for
// looking at a disk without a kernel that has it.
package massstorage
