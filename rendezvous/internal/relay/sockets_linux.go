package relay

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// listenShared opens several sockets at one address (SO_REUSEPORT, socket(7)). The kernel chooses one of them by the
// hash of both addresses and ports. The first socket is opened without the option, so that listenShared fails if
// another program has the address. Later, a process of the same user could share the address too.
func listenShared(address string) ([]*net.UDPConn, error) {
	first, err := listenUDP(address)
	if err != nil {
		return nil, err
	}
	all := []*net.UDPConn{first}
	closeAll := func() {
		for _, open := range all {
			open.Close()
		}
	}
	raw, err := first.SyscallConn()
	if err == nil {
		err = reusePort(raw)
	}
	if err != nil {
		closeAll()
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return reusePort(raw) }}
	for len(all) < share() {
		conn, err := config.ListenPacket(context.Background(), "udp", first.LocalAddr().String())
		if err != nil {
			closeAll()
			return nil, err
		}
		datagrams.SetBuffers(conn.(*net.UDPConn), socketBuffer)
		all = append(all, conn.(*net.UDPConn))
	}
	return all, nil
}

// reusePort allows other sockets at the address of a socket.
func reusePort(raw syscall.RawConn) error {
	var err error
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if failed != nil {
		return failed
	}
	return err
}
