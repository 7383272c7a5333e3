//go:build linux

package usbfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pollInterval is how often the list is looked at where the kernel's events
// cannot be had, as in some containers.
const pollInterval = 2 * time.Second

// Watch implements [usb.Bus]. The kernel says what is plugged in and bound
// (NETLINK_KOBJECT_UEVENT) and what is mounted (/proc/self/mountinfo).
func (b *bus) Watch(ctx context.Context, changed func()) error {
	events, err := openUevents()
	if err != nil {
		return b.poll(ctx, changed)
	}
	defer func() { _ = unix.Close(events) }()
	w, err := newWaker()
	if err != nil {
		return err
	}
	defer func() { _ = w.close() }()
	stop := context.AfterFunc(ctx, w.signal)
	defer stop()
	fds := []unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}}
	if mounts, err := os.Open(filepath.Join(b.proc, "self/mountinfo")); err == nil {
		defer func() { _ = mounts.Close() }()
		fds = append(fds, unix.PollFd{Fd: int32(mounts.Fd()), Events: unix.POLLPRI})
	}
	changed()
	for ctx.Err() == nil {
		ready := w.wait(-1, fds...)
		again := len(ready) > 1 && ready[1].Revents&unix.POLLPRI != 0
		if len(ready) > 0 && ready[0].Revents != 0 && drain(events) {
			again = true
		}
		if again && ctx.Err() == nil {
			changed()
		}
	}
	return nil
}

func openUevents() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return 0, err
	}
	const fromKernel = 1 // group
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// drain reads every event that is waiting and reports whether one matters. An
// overflow does: nobody knows what was lost.
func drain(fd int) bool {
	matters := false
	b := make([]byte, 16<<10) // the kernel's are below 2 KiB (UEVENT_BUFFER_SIZE)
	for {
		n, from, err := unix.Recvfrom(fd, b, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			matters = true
			continue
		case err != nil:
			return matters
		}
		sender, ok := from.(*unix.SockaddrNetlink)
		matters = matters || ok && sender.Pid == 0 && eventMatters(b[:n])
	}
}

// eventMatters reads a uevent: a header, then NAME=value, each ended by NUL.
// It matters if it is of a USB device or its interfaces, or of what Info.InUse
// is made of.
func eventMatters(b []byte) bool {
	header, rest, ok := strings.Cut(string(b), "\x00")
	if !ok || !strings.Contains(header, "@/") {
		return false
	}
	for field := range strings.SplitSeq(rest, "\x00") {
		switch field {
		case "SUBSYSTEM=usb", "SUBSYSTEM=block", "SUBSYSTEM=net":
			return true
		}
	}
	return false
}

// poll looks at the names and numbers of what is plugged in.
func (b *bus) poll(ctx context.Context, changed func()) error {
	t := time.NewTicker(pollInterval)
	defer t.Stop()
	last := b.fingerprint()
	changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if now := b.fingerprint(); now != last {
			last = now
			changed()
		}
	}
}

// fingerprint changes whenever the answer of Devices does.
func (b *bus) fingerprint() string {
	list, err := b.Devices()
	if err != nil {
		return err.Error()
	}
	var s strings.Builder
	for _, i := range list {
		s.WriteString(i.ID + "\x00" + attribute(filepath.Join(b.devices, i.ID), "devnum") + "\x00" + i.InUse + "\x00")
	}
	return s.String()
}
