//go:build linux

package usbfs

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// waker is an eventfd, by which another goroutine ends a poll.
type waker struct{ fd int }

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &waker{fd: fd}, nil
}

// signal ends the wait that is under way, or else the next. Its only error is
// that very many signals are waiting already.
func (w *waker) signal() { _, _ = unix.Write(w.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// wait waits for the events, a signal, or so many milliseconds (-1: for ever),
// and returns the events that there are.
func (w *waker) wait(timeout int, fds ...unix.PollFd) []unix.PollFd {
	all := append(slices.Clone(fds), unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN})
	if _, err := unix.Poll(all, timeout); err != nil {
		return nil // a signal of the system's; whoever waits looks again
	}
	if all[len(fds)].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(w.fd, b[:]) // taken
	}
	return all[:len(fds)]
}

func (w *waker) close() error { return unix.Close(w.fd) }
