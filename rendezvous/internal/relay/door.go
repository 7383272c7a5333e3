package relay

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/pion/turn/v2"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// door is one socket through which clients come: a UDP socket with many
// clients, or a TCP connection with one. Each has a TURN server of its own: that
// one's goroutine handles a request wholly before the next, so that who
// authenticated last is who allocates; and all allocations of a door end when
// the door does.
type door struct {
	relay *Relay

	// Owned by the TURN server's goroutine.
	login login

	// Guarded by mu.
	mu      sync.Mutex
	clients map[netip.AddrPort]*relayConn
}

// login is a request's credentials and where it came from.
type login struct {
	from     netip.AddrPort
	username string
	peer     ident.PeerID
}

// serve runs a TURN server on the socket that open makes, until that ends, and
// closes it.
func (r *Relay) serve(open func(*door) net.PacketConn) error {
	d := &door{relay: r, clients: map[netip.AddrPort]*relayConn{}}
	conn := &guarded{PacketConn: open(d), answers: r.answers, ended: make(chan struct{})}
	defer conn.Close()
	_, err := turn.NewServer(turn.ServerConfig{
		Realm:         realm,
		AuthHandler:   d.authenticate,
		LoggerFactory: r.logs,
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: d,
			PermissionHandler:     d.permit,
		}},
	})
	if err != nil {
		return err
	}
	<-conn.ended
	for _, c := range d.allocations() {
		c.Close()
	}
	return nil
}

// guarded is a door's socket as its TURN server sees it: answers to who has not
// authenticated are limited, and the end is told.
type guarded struct {
	net.PacketConn
	answers *limiter
	ended   chan struct{} // closed when the TURN server has been told of the end
}

// ReadFrom returns one message. Errors are final.
func (g *guarded) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := g.PacketConn.ReadFrom(p)
	if err != nil {
		close(g.ended) // the TURN server reads no more after an error
	}
	return n, from, err
}

// WriteTo sends an answer or relayed data to a client.
func (g *guarded) WriteTo(p []byte, to net.Addr) (int, error) {
	if unauthenticated(p) && !g.answers.take(to) {
		g.answers.withheld.Add(1)
		return len(p), nil
	}
	return g.PacketConn.WriteTo(p, to)
}

// unauthenticated reports whether p is an answer that anybody gets who asks: a
// Binding response or an error (RFC 8489 section 5: class bits 0x0110 are an
// error, 0x0101 is Binding's success).
func unauthenticated(p []byte) bool {
	if len(p) < 2 || p[0]&0xc0 != 0 {
		return false
	}
	kind := uint16(p[0])<<8 | uint16(p[1])
	return kind == 0x0101 || kind&0x0110 == 0x0110
}

// authenticate gives the key of a username. A credential that has expired is
// still good for the allocation that it began, and nobody else's is.
func (d *door) authenticate(username, realm string, from net.Addr) ([]byte, bool) {
	client, ok := addrPort(from)
	if !ok {
		return nil, false
	}
	peer, expires, ok := parseUsername(username)
	if !ok {
		return nil, false
	}
	d.mu.Lock()
	has := d.clients[client]
	d.mu.Unlock()
	switch {
	case has != nil && has.username != username:
		return nil, false // RFC 5766 section 4: the one who allocated
	case has == nil && !d.relay.now().Before(expires):
		return nil, false
	case d.relay.table.refuses(peer, expires.Add(-Validity)):
		return nil, false
	}
	d.login = login{from: client, username: username, peer: peer}
	return turn.GenerateAuthKey(username, realm, d.relay.password(username)), true
}

// permit is asked before each permission and channel.
func (d *door) permit(from net.Addr, peer net.IP) bool {
	client, ok := addrPort(from)
	if !ok {
		return false
	}
	ip, ok := netip.AddrFromSlice(peer)
	if !ok {
		return false
	}
	ip = ip.Unmap()
	relayOnly := ip == d.relay.table.at.IP || !d.relay.policy.permits(ip)
	if relayOnly && !d.relay.table.hasRelay(ip) {
		return false
	}
	d.mu.Lock()
	c := d.clients[client]
	d.mu.Unlock()
	return c != nil && c.permit(ip, relayOnly)
}

// Validate is part of the generator of relay addresses.
func (d *door) Validate() error { return nil }

// AllocatePacketConn makes the socket of an allocation for the login whose
// request is being handled.
func (d *door) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	by := d.login
	c, err := d.relay.table.open(by, port, func(c *relayConn) { d.forget(by.from, c) })
	if err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	d.clients[by.from] = c
	d.mu.Unlock()
	return c, net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.relay.table.at.IP, c.port)), nil
}

// AllocateConn would be RFC 6062, which is not offered.
func (d *door) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, net.ErrClosed
}

func (d *door) forget(client netip.AddrPort, c *relayConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clients[client] == c {
		delete(d.clients, client)
	}
}

// allocations are those that its clients have now.
func (d *door) allocations() []*relayConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.clients))
}
