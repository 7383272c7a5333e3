package usbip

import (
	"context"
	"net"
	"time"
)

// deadTimeout is the time after which the connection to a server that no longer
// answers ends.
const deadTimeout = 15 * time.Second

// Dial connects to a USB/IP server, for [List] or [Import]. The connection ends
// when the server's machine has been unreachable for about deadTimeout.
func Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadTimeout / 3, Interval: deadTimeout / 3, Count: 2},
		Control:         boundSilence,
	}
	return d.DialContext(ctx, "tcp", addr)
}
