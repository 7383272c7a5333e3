// Package uevent hears what the kernel says of its devices: that one was added,
// removed, bound to a driver (NETLINK_KOBJECT_UEVENT,
// Documentation/ABI/testing/sysfs-uevent, lib/kobject_uevent.c). Only Linux
// says anything.
package uevent

import "strings"

// maxEvent bounds an event, in bytes. The kernel's are below 2 KiB
// (UEVENT_BUFFER_SIZE) and a header.
const maxEvent = 16 << 10

// Event is something that happened to a device.
type Event struct {
	Action    string // "add", "remove", "change", "bind", "unbind", ...
	Path      string // of the device below /sys, beginning with a slash
	Subsystem string // "usb", "block", "scsi", ...
	DevType   string // within the subsystem; often empty
}

// parse reads an event: "action@path", then NAME=value, each ended by NUL. It
// returns false for what is not the kernel's.
func parse(b []byte) (Event, bool) {
	header, rest, ok := strings.Cut(string(b), "\x00")
	if !ok {
		return Event{}, false
	}
	var e Event
	if e.Action, e.Path, ok = strings.Cut(header, "@"); !ok || !strings.HasPrefix(e.Path, "/") {
		return Event{}, false
	}
	for field := range strings.SplitSeq(rest, "\x00") {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "SUBSYSTEM":
			e.Subsystem = value
		case "DEVTYPE":
			e.DevType = value
		}
	}
	return e, true
}
