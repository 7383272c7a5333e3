// Package enumeration is the enumeration stage: it hides the distance while an
// operating system finds out what a remote device is.
//
// # Why
//
// An operating system reads the descriptors of a new device one by one. Linux
// (drivers/usb/core/hub.c, hub_port_init; config.c; message.c, usb_cache_string) needs
// 11 requests before it configures a USB disk, a HID driver one more for each report
// descriptor. Each takes a round trip.
//
// # What the stage does
//
// The host has sent the device descriptor and all configurations with the attachment.
// The stage answers requests for them at once. It fetches the other descriptors that
// a driver is going to ask for, as soon as the device is attached, many at a time:
//
//	round 1                             round 2
//	languages of the strings ─────────► the strings, in each language
//	head of the BOS ──────────────────► the whole BOS
//	device qualifier, report descriptors of HID interfaces, greatest LUN of disks
//
// The requests are those that Linux sends, with the same lengths, because some devices
// do not survive others. The kernel waits 100 ms before it asks a new device for
// anything (hub.c, HUB_DEBOUNCE_STABLE), so the answers are usually there in time. If
// not, a driver that asks for one of them waits for the answer on its way.
//
// The stage answers a driver's request only with the same descriptor, cut to wLength as
// the device would do (USB 2.0, 9.4.3). It keeps a stall for requests of the same
// length. It passes everything else: the status, the state and all requests of vendors
// and classes, except GET MAX LUN, whose answer never changes (Bulk-Only Transport 1.0,
// 3.2). SET_CONFIGURATION and SET_INTERFACE pass too: only the device can answer them.
//
// # Order
//
// Control transfers of a driver complete in their order. The stage answers a request
// only while no earlier one of the driver is with the device.
//
// # Doubt
//
// A reset, another configuration, SET_DESCRIPTOR and every OUT request of a vendor may
// change what the device is. After one of them the stage passes all requests. Another
// alternate setting drops what belongs to its interface.
//
// # The device that was agreed to
//
// The stage also asks the device itself for the descriptors that it answers with, and
// compares each answer of the device with them, always. If one differs, the device is not
// the one that was agreed to, and the stage ends the attachment.
package enumeration
