//go:build !linux

package relay

import "net"

// listenShared opens one socket. Only on Linux do several sockets share a port.
func listenShared(address string) ([]*net.UDPConn, error) {
	conn, err := listenUDP(address)
	if err != nil {
		return nil, err
	}
	return []*net.UDPConn{conn}, nil
}
