package relay

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/pion/stun"
	"github.com/pion/turn/v2"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/policy"
)

// control joins a TURN socket to its TURN server. For the server it is the net.PacketConn, on which only requests and
// Send indications arrive, the generator of relayed addresses, and the authenticator. It drops malformed messages,
// answers Binding requests, relays channel data, corrects the server's answers, and limits answers to clients that
// have not authenticated.
type control struct {
	socket
	turn  *turnSocket
	at    place         // of the socket, if the relay has a discovery
	ended chan struct{} // closed when the TURN server has got the final error

	// Owned by the goroutine of the TURN server.
	request stun.Message // the current request
	login   login        // of the current request
	refusal refusal      // of the current request
	channel channel      // that the current request asks for, if it asks for one
}

// login holds the credentials of a request and the client that sent it.
type login struct {
	policy.Identity
	client   netip.AddrPort
	username string
	key      stun.MessageIntegrity
}

var errAddress = errors.New("neither a UDP nor a TCP address")

// ReadFrom returns the next message that is for the TURN server. Errors are final.
func (c *control) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		data, from, err := c.turn.next()
		if err != nil {
			close(c.ended) // the TURN server does not read again after an error
			return 0, nil, err
		}
		switch {
		case isChannelData(data):
			c.turn.relayChannel(data, from)
		case len(data) > len(p) || !decode(&c.request, data):
			// is malformed
		case c.request.Type == stun.BindingRequest:
			c.answerBinding(from)
		default:
			c.begin()
			return copy(p, data), c.turn.clients.address(from), nil
		}
	}
}

// begin prepares for the request that the TURN server handles next.
func (c *control) begin() {
	c.refusal = accepted
	if c.request.Type != channelBindRequest {
		return
	}
	c.channel = channel{peer: readXORAddress(&c.request, stun.AttrXORPeerAddress)}
	if number := value(&c.request, stun.AttrChannelNumber); len(number) == 4 {
		c.channel.number = binary.BigEndian.Uint16(number)
	}
}

// answerBinding answers the current request, which is a Binding request.
func (c *control) answerBinding(client netip.AddrPort) {
	d := c.turn.relay.discovery
	if _, stream := c.turn.clients.(*streamClient); stream {
		d = nil
	}
	r := d.answer(&c.request, client, c.at)
	if !c.turn.relay.answers.Take(r.to.Addr()) {
		return
	}
	if d != nil && r.from != c.at {
		d.sockets[r.from.ip][r.from.port].WriteToUDPAddrPort(r.message.Raw, r.to) // an error loses a datagram
		return
	}
	c.turn.clients.answer(r.message.Raw, r.to)
}

// WriteTo sends an answer of the TURN server to a client.
func (c *control) WriteTo(p []byte, to net.Addr) (int, error) {
	client, ok := addrPort(to)
	if !ok {
		return 0, errAddress
	}
	answer := c.correct(p)
	if isUnauthenticated(answer) && !c.turn.relay.answers.Take(client.Addr()) {
		return len(p), nil
	}
	return len(p), c.turn.clients.answer(answer, client)
}

// authenticate returns the key of a username. Expired credentials are still valid for the allocation that they began.
// No other credentials are valid for that allocation.
func (c *control) authenticate(username, realm string, from net.Addr) ([]byte, bool) {
	client, ok := addrPort(from)
	if !ok {
		return nil, false
	}
	id, ok := policy.ParseUsername(username)
	if !ok {
		return nil, false
	}
	r := c.turn.relay
	existing := c.turn.allocation(client)
	switch {
	case existing != nil && existing.login.username != username:
		c.refusal = wrongUser
		return nil, false
	case existing == nil && !r.now().Before(id.Expires):
		return nil, false
	case r.authority.Revoked(id):
		return nil, false
	}
	key := turn.GenerateAuthKey(username, realm, r.authority.Password(username))
	c.login = login{Identity: id, client: client, username: username, key: key}
	return key, true
}

// permit decides on a permission or a channel that a client asks for.
func (c *control) permit(from net.Addr, peer net.IP) bool {
	c.refusal = forbidden
	client, ok := addrPort(from)
	if !ok {
		return false
	}
	ip, ok := netip.AddrFromSlice(peer)
	if !ok {
		return false
	}
	ip = ip.Unmap()
	if ip.Is6() {
		c.refusal = wrongFamily
		return false
	}
	table := c.turn.relay.table
	relayOnly := ip == table.ports.IP || !c.turn.relay.addresses.Permits(ip)
	if relayOnly && !table.hasRelay(ip) {
		return false
	}
	c.refusal = noCapacity
	if a := c.turn.allocation(client); a == nil || !a.permissions.permit(ip, relayOnly, c.turn.relay.now()) {
		return false
	}
	c.refusal = accepted
	return true
}

// Validate belongs to turn.RelayAddressGenerator. There is nothing to check.
func (c *control) Validate() error { return nil }

// AllocatePacketConn makes an allocation for the current request. A port other than 0 is the one that the client wants.
func (c *control) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	a, err := c.turn.relay.table.open(c.turn, c.login, port)
	if err != nil {
		c.refusal = noCapacity
		if errors.Is(err, errQuota) {
			c.refusal = quotaReached
		}
		return nil, nil, err
	}
	c.turn.remember(a)
	return a, net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.turn.relay.table.ports.IP, a.port)), nil
}

// AllocateConn belongs to turn.RelayAddressGenerator. It is for RFC 6062, which the relay does not offer.
func (c *control) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, net.ErrClosed
}

// addrPort returns the unmapped address of a UDP or TCP address.
func addrPort(addr net.Addr) (netip.AddrPort, bool) {
	var ap netip.AddrPort
	switch a := addr.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), ap.IsValid()
}
