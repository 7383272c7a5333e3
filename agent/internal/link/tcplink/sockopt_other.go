//go:build !linux

package tcplink

import (
	"net"
	"time"
)

// tune leaves the connection as it is.
func tune(net.Conn) {}

// kernelCounters are what the kernel has measured on a connection.
type kernelCounters struct {
	rtt           time.Duration // 0: not measured
	segments      uint64
	retransmitted uint64
}

// kernelStats measures nothing here.
func kernelStats(net.Conn) kernelCounters { return kernelCounters{} }
