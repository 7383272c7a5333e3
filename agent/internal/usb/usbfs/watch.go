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

// pollInterval is the time between two readings of sysfs where the socket for the
// kernel's device events cannot be opened, as in some containers. There is no
// other event to wait for: inotify does not report devices that the kernel adds
// to sysfs.
const pollInterval = 2 * time.Second

// Watch implements [usb.Bus]. It learns of devices and drivers from the kernel's
// events (package uevent), and of mounts by poll(2) on /proc/self/mountinfo.
func (b *bus) Watch(ctx context.Context, changed func()) error {
	events, err := uevent.Open()
	if err != nil {
		return b.poll(ctx, changed)
	}
	w, err := newWaker()
	if err != nil {
		return errors.Join(err, events.Close())
	}
	var changes atomic.Bool // events that changed has not yet been called for
	var joined sync.WaitGroup
	joined.Go(func() {
		for {
			e, lost, err := events.Receive()
			if err != nil {
				return
			}
			if lost || watched(e) {
				changes.Store(true)
				w.signal()
			}
		}
	})
	defer func() { // the goroutine must have ended before w is closed
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
		again := changes.Swap(false)
		if len(ready) > 0 && ready[0].Revents&unix.POLLPRI != 0 {
			again = true
		}
		if again && ctx.Err() == nil {
			changed()
		}
	}
	return nil
}

// watched reports whether an event may change the list of devices or an
// Info.InUse.
func watched(e uevent.Event) bool {
	switch e.Subsystem {
	case "usb", "block", "net":
		return true
	}
	return false
}

// poll implements Watch where the kernel's events cannot be received. It compares
// the list of devices every pollInterval.
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

// fingerprint returns a string that changes when the result of Devices changes.
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
