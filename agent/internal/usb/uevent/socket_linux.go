package uevent

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Socket receives the events that the kernel sends after it was opened.
type Socket struct {
	f   *os.File
	raw syscall.RawConn
	buf [maxEvent]byte
}

// Open opens a socket and subscribes to the kernel's events. It fails in
// containers that may not use netlink.
func Open() (*Socket, error) {
	const kind = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_NETLINK, kind, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("the kernel's device events: %w", err)
	}
	const kernelGroup = 1 // the multicast group of the kernel; udev uses group 2
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("the kernel's device events: %w", err)
	}
	s := &Socket{f: os.NewFile(uintptr(fd), "uevent")}
	if s.raw, err = s.f.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("the kernel's device events: %w", err), s.f.Close())
	}
	return s, nil
}

// Receive returns the next event. If lost is true, the kernel has dropped an
// unknown number of events because the socket's buffer was full, and e is empty.
// After Close the error wraps os.ErrClosed. Only one goroutine may call Receive.
func (s *Socket) Receive() (e Event, lost bool, err error) {
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := s.raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), s.buf[:], 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return Event{}, false, fmt.Errorf("the kernel's device events: %w", os.ErrClosed)
		case errors.Is(failed, unix.ENOBUFS):
			return Event{}, true, nil
		case errors.Is(failed, unix.EINTR):
			continue
		case failed != nil:
			return Event{}, false, fmt.Errorf("the kernel's device events: %w", failed)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // sent by another program
		}
		if e, ok := parse(s.buf[:n]); ok {
			return e, false, nil
		}
	}
}

// Close closes the socket and ends a Receive that is waiting.
func (s *Socket) Close() error { return s.f.Close() }
