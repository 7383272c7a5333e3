package datagrams

import (
	"net"

	"golang.org/x/sys/unix"
)

// SetBuffers requests kernel buffers of a size in bytes in both directions. If the process has the privilege, they may
// exceed the limits of the system (net.core.rmem_max).
func SetBuffers(conn *net.UDPConn, size int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		for force, ask := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, size) != nil {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, ask, size)
			}
		}
	})
}
