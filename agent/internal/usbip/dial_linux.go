package usbip

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundSilence makes the kernel close a connection on which data has not been
// acknowledged for deadTimeout (tcp(7), TCP_USER_TIMEOUT). Without it, it would send
// the data again for about 15 minutes.
func boundSilence(_, _ string, conn syscall.RawConn) error {
	var err error
	called := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadTimeout.Milliseconds()))
	})
	return errors.Join(called, err)
}
