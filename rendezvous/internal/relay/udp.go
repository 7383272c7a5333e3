package relay

import (
	"errors"
	"net"
	"net/netip"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/datagrams"
)

// udpClients are the clients of a UDP socket. Only its closing ends them.
type udpClients struct {
	in     *datagrams.Reader
	socket *datagrams.Socket
	conn   *net.UDPConn
	known  [knownAddresses]*net.UDPAddr // by hash
}

// knownAddresses is how many clients' addresses are not made anew for each
// packet.
const knownAddresses = 256

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

// address returns the same address for the same client, mostly. The TURN server
// keeps and reads it, and changes nothing of it.
func (u *udpClients) address(of netip.AddrPort) net.Addr {
	low := of.Addr().As16()
	slot := &u.known[(of.Port()^uint16(low[15])<<3)%knownAddresses]
	if known := *slot; known != nil {
		if ap := known.AddrPort(); ap.Port() == of.Port() && ap.Addr().Unmap() == of.Addr() {
			return known
		}
	}
	*slot = net.UDPAddrFromAddrPort(of)
	return *slot
}

func (u *udpClients) outbox(to netip.AddrPort) outbox {
	return &udpOutbox{Writer: u.socket.NewWriter(), to: to}
}

// udpOutbox sends to one client. What the network refuses, or comes when the
// socket is closed, is lost.
type udpOutbox struct {
	*datagrams.Writer
	to netip.AddrPort
}

func (o *udpOutbox) add(header, p []byte) { o.Add(header, p, o.to) }
func (o *udpOutbox) flush()               { o.Flush() }
