//go:build !linux

package relay

import "net"

// listenShared opens one socket: sharing a port out is Linux's.
func listenShared(address string) ([]*net.UDPConn, error) {
	conn, err := listenUDP(address)
	if err != nil {
		return nil, err
	}
	return []*net.UDPConn{conn}, nil
}
