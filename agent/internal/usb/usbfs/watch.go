//go:build linux

package usbfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/easyfind-usb/easyfind/agent/internal/usb/uevent"
)

// pollInterval is how often the list is looked at where the kernel's events
// cannot be had, as in some containers.
const pollInterval = 2 * time.Second

// Watch implements [usb.Bus]. The kernel says what is plugged in and bound
// (package uevent) and what is mounted (/proc/self/mountinfo).
func (b *bus) Watch(ctx context.Context, changed func()) error {
	events, err := uevent.Open()
	if err != nil {
		return b.poll(ctx, changed)
	}
	w, err := newWaker()
	if err != nil {
		return errors.Join(err, events.Close())
	}
	var plugged atomic.Bool
	var joined sync.WaitGroup
	joined.Go(func() {
		for {
			e, lost, err := events.Receive()
			if err != nil {
				return
			}
			if lost || matters(e) {
				plugged.Store(true)
				w.signal()
			}
		}
	})
	defer func() { // in this order: who signals, then what is signalled
		_ = events.Close()
		joined.Wait()
		_ = w.close()
	}()
	stop := context.AfterFunc(ctx, w.signal)
	defer stop()
	var fds []unix.PollFd
	if mounts, err := os.Open(filepath.Join(b.proc, "self/mountinfo")); err == nil {
		defer func() { _ = mounts.Close() }()
		fds = append(fds, unix.PollFd{Fd: int32(mounts.Fd()), Events: unix.POLLPRI})
	}
	changed()
	for ctx.Err() == nil {
		ready := w.wait(-1, fds...)
		again := plugged.Swap(false)
		if len(ready) > 0 && ready[0].Revents&unix.POLLPRI != 0 {
			again = true
		}
		if again && ctx.Err() == nil {
			changed()
		}
	}
	return nil
}

// matters reports whether an event is of a USB device or its interfaces, or of
// what Info.InUse is made of.
func matters(e uevent.Event) bool {
	switch e.Subsystem {
	case "usb", "block", "net":
		return true
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
