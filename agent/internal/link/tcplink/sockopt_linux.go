package tcplink

import (
	"math"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tune selects the congestion control BBR, which random loss does not slow down,
// if the kernel has it.
func tune(conn net.Conn) {
	control(conn, func(fd int) {
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") // without BBR the default stays
	})
}

// limitUnsent bounds the bytes that a connection keeps before it sends them for the
// first time (TCP_NOTSENT_LOWAT, tcp(7)). Bytes in flight do not count.
func limitUnsent(conn net.Conn, bytes int) {
	control(conn, func(fd int) {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes) // else only more waits
	})
}

// kernelCounters are the kernel's measurements on a connection.
type kernelCounters struct {
	rtt, minRTT   time.Duration // smoothed and least; 0 if not measured
	rate          float64       // bytes per second that the path delivered; 0 if not measured
	segments      uint64        // sent with data
	retransmitted uint64        // segments that were sent again
}

// ratedAfter is the time that a connection must have had data in flight before its
// delivery rate counts: at the beginning the rate is that of slow start.
const ratedAfter = time.Second

// kernelStats reads TCP_INFO (include/uapi/linux/tcp.h).
func kernelStats(conn net.Conn) kernelCounters {
	var k kernelCounters
	control(conn, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		k.rtt = time.Duration(info.Rtt) * time.Microsecond
		if info.Min_rtt != math.MaxUint32 { // which is the value before the first measurement
			k.minRTT = time.Duration(info.Min_rtt) * time.Microsecond
		}
		if !rateIsLimited(info) && info.Busy_time >= uint64(ratedAfter.Microseconds()) {
			k.rate = float64(info.Delivery_rate)
		}
		k.segments, k.retransmitted = uint64(info.Data_segs_out), uint64(info.Total_retrans)
	})
	return k
}

// rateIsLimited returns tcpi_delivery_rate_app_limited, the lowest bit of the eighth byte,
// for which unix.TCPInfo has no field: the application sent less than the path can carry.
func rateIsLimited(info *unix.TCPInfo) bool {
	return (*[unsafe.Sizeof(*info)]byte)(unsafe.Pointer(info))[7]&1 != 0
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
