//go:build !linux

package quiclink

import "net"

// receiver is empty: the engine reads packets itself.
type receiver struct{}

func newReceiver(*net.UDPConn) receiver { return receiver{} }
