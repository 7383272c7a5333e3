package uevent

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Socket hears events from its opening on.
type Socket struct {
	f   *os.File
	raw syscall.RawConn
	buf [maxEvent]byte
}

// Open begins to listen. In some containers it cannot.
func Open() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("the kernel's device events: %w", err)
	}
	const fromKernel = 1 // group
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("the kernel's device events: %w", err)
	}
	s := &Socket{f: os.NewFile(uintptr(fd), "uevent")}
	if s.raw, err = s.f.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("the kernel's device events: %w", err), s.f.Close())
	}
	return s, nil
}

// Receive waits for the next event. With lost set, the kernel had no room for
// some that came before, and nobody knows which. After Close the error is
// os.ErrClosed. One goroutine may call it.
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
			continue // another program's
		}
		if e, ok := parse(s.buf[:n]); ok {
			return e, false, nil
		}
	}
}

// Close ends listening, and a Receive that waits.
func (s *Socket) Close() error { return s.f.Close() }
