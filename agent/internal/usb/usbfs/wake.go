//go:build linux

package usbfs

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// waker wakes a goroutine that waits in poll(2), by an eventfd.
type waker struct{ fd int }

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &waker{fd: fd}, nil
}

// signal ends the current wait, or the next one if no goroutine waits. The only
// error is EAGAIN, when the counter is full: then the waiter wakes anyway.
func (w *waker) signal() { _, _ = unix.Write(w.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// wait waits for one of the events of fds, a signal or the timeout, which is in
// milliseconds, or -1 for none. It returns fds with Revents set, or nil if a
// POSIX signal interrupted the wait.
func (w *waker) wait(timeout int, fds ...unix.PollFd) []unix.PollFd {
	all := append(slices.Clone(fds), unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN})
	if _, err := unix.Poll(all, timeout); err != nil {
		return nil // EINTR: the callers check their condition in a loop
	}
	if all[len(fds)].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(w.fd, b[:]) // resets the counter
	}
	return all[:len(fds)]
}

func (w *waker) close() error { return unix.Close(w.fd) }
