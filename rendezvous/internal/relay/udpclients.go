package relay

import (
	"errors"
	"net"
	"net/netip"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// udpClients are the clients of a UDP socket. They end when the socket is closed.
type udpClients struct {
	in     *datagrams.Reader
	socket *datagrams.Socket
	conn   *net.UDPConn
	cached [cachedAddresses]*net.UDPAddr // by hash
}

// cachedAddresses is the number of client addresses that are kept, so that not every packet allocates one.
const cachedAddresses = 256

func newUDPClients(conn *net.UDPConn) (*udpClients, error) {
	in, err := datagrams.NewReader(conn)
	if err != nil {
		return nil, err
	}
	socket, err := datagrams.NewSocket(conn)
	return &udpClients{in: in, socket: socket, conn: conn}, err
}

func (u *udpClients) ready() bool { return u.in.Buffered() > 0 }

func (u *udpClients) next() ([]byte, netip.AddrPort, error) {
	for {
		p, from, err := u.in.Next()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return p, from, err
		}
	}
}

func (u *udpClients) answer(p []byte, to netip.AddrPort) error {
	_, err := u.conn.WriteToUDPAddrPort(p, to)
	return err
}

// address usually returns the same pointer for the same client. The TURN server keeps and reads the address, and does
// not change it.
func (u *udpClients) address(client netip.AddrPort) net.Addr {
	low := client.Addr().As16()
	slot := &u.cached[(client.Port()^uint16(low[15])<<3)%cachedAddresses]
	if known := *slot; known != nil {
		if ap := known.AddrPort(); ap.Port() == client.Port() && ap.Addr().Unmap() == client.Addr() {
			return known
		}
	}
	*slot = net.UDPAddrFromAddrPort(client)
	return *slot
}

func (u *udpClients) outbox(to netip.AddrPort) outbox {
	return &udpOutbox{Writer: u.socket.NewWriter(), to: to}
}

// udpOutbox sends to one client. Packets that the network refuses, or that come when the socket is closed, are lost.
type udpOutbox struct {
	*datagrams.Writer
	to netip.AddrPort
}

func (o *udpOutbox) add(header, payload []byte) { o.Add(header, payload, o.to) }
func (o *udpOutbox) flush()                     { o.Flush() }
