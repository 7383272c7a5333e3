package tcplink

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tune selects the congestion control BBR, which random loss does not slow down,
// if the kernel has it.
func tune(conn net.Conn) {
	control(conn, func(fd int) {
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") // without BBR the default stays
	})
}

// kernelCounters are the kernel's measurements on a connection.
type kernelCounters struct {
	rtt           time.Duration // smoothed; 0 if not measured
	segments      uint64        // sent with data
	retransmitted uint64        // segments that were sent again
}

// kernelStats reads TCP_INFO (include/uapi/linux/tcp.h).
func kernelStats(conn net.Conn) kernelCounters {
	var k kernelCounters
	control(conn, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		k.rtt = time.Duration(info.Rtt) * time.Microsecond
		k.segments, k.retransmitted = uint64(info.Data_segs_out), uint64(info.Total_retrans)
	})
	return k
}

func control(conn net.Conn, do func(fd int)) {
	t, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := t.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { do(int(fd)) }) // fails only on a closed connection
	}
}
