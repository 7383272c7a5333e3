//go:build !linux

package tcplink

import (
	"net"
	"time"
)

// tune does nothing.
func tune(net.Conn) {}

// kernelCounters are the kernel's measurements on a connection.
type kernelCounters struct {
	rtt, minRTT   time.Duration // 0: not measured
	rate          float64
	segments      uint64
	retransmitted uint64
}

// kernelStats returns nothing.
func kernelStats(net.Conn) kernelCounters { return kernelCounters{} }

// limitUnsent does nothing: the option of other systems is not used.
func limitUnsent(net.Conn, int) {}
