package main

import (
	"fmt"
	"net"
)

// notify sends a state to systemd, as sd_notify(3) does: in a datagram to the socket
// of the environment variable NOTIFY_SOCKET. If socket is "", it does nothing.
func notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	// Package net uses the same notation for abstract sockets: a name that begins with @.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
