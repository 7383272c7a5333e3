package relay

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// listenShared opens several sockets at one address (SO_REUSEPORT, socket(7)):
// the kernel chooses one by the hash of both addresses and ports. That nobody
// else is at the address is asked first; a process of the same user could share
// it too, such as this program started twice.
func listenShared(address string) ([]*net.UDPConn, error) {
	alone, err := listenUDP(address)
	if err != nil {
		return nil, err
	}
	alone.Close()
	var all []*net.UDPConn
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if failed := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); failed != nil {
			return failed
		}
		return err
	}}
	for range share() {
		conn, err := config.ListenPacket(context.Background(), "udp", address)
		if err != nil {
			for _, open := range all {
				open.Close()
			}
			return nil, err
		}
		datagrams.SetBuffers(conn.(*net.UDPConn), socketBuffer)
		all = append(all, conn.(*net.UDPConn))
	}
	return all, nil
}
