// Package uevent receives the Linux kernel's device events: a device was added
// or removed, or a driver was bound to it. Protocol: NETLINK_KOBJECT_UEVENT
// (Documentation/ABI/testing/sysfs-uevent, lib/kobject_uevent.c). On other
// systems the package has no socket.
package uevent

import "strings"

// maxEvent is the greatest length of an event in bytes. The kernel's events are
// shorter: a header and at most 2 KiB (UEVENT_BUFFER_SIZE).
const maxEvent = 16 << 10

// Event is one event of a device.
type Event struct {
	Action    string // "add", "remove", "change", "bind", "unbind", ...
	Path      string // directory of the device below /sys; begins with a slash
	Subsystem string // "usb", "block", "scsi", ...
	DevType   string // kind of device within the subsystem; often empty
}

// parse parses an event: "action@path", then NAME=value pairs, each terminated
// by NUL. It returns false for messages that do not come from the kernel.
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
