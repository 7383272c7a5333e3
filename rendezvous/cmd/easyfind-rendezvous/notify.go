package main

import (
	"fmt"
	"net"
)

// notify tells systemd how the service is, as sd_notify(3) does: a datagram to
// the socket that the variable NOTIFY_SOCKET names. Without one there is nobody
// to tell.
func notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	// A name that begins with @ is abstract, which package net writes so too.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	return nil
}
