package relay

import (
	"encoding/binary"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/turn/v2"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// door is one socket through which clients come: a UDP socket with many
// clients, or a TCP connection with one. Each has a TURN server of its own: that
// one's goroutine handles a request wholly before the next, so that who
// authenticated last is who allocates; and all allocations of a door end when
// the door does.
type door struct {
	relay   *Relay
	clients clients

	// Owned by the TURN server's goroutine.
	now     int64 // unix nanoseconds: when what is handled was read
	login   login
	verdict verdict      // on the request that is handled
	channel channel      // that the request asks for, if it does
	unsent  []*relayConn // that have something to send

	// Guarded by mu.
	mu    sync.RWMutex
	conns map[netip.AddrPort]*relayConn // by client
}

// login is a request's credentials and where it came from.
type login struct {
	from     netip.AddrPort
	username string
	peer     ident.PeerID
	key      []byte
}

// clients is the connection of a door with those behind it.
type clients interface {
	// next returns the next message, good until the call after, and who sent
	// it. Errors are final.
	next() ([]byte, netip.AddrPort, error)
	// ready reports whether next has one without waiting.
	ready() bool
	// answer sends one message.
	answer(p []byte, to netip.AddrPort) error
	// outbox collects what is relayed to one of them. It is for one goroutine.
	outbox(to netip.AddrPort) outbox
	// address is how the TURN server knows one of them.
	address(netip.AddrPort) net.Addr
}

// outbox collects messages to one client, each of a header and what follows it.
type outbox interface {
	add(header, p []byte)
	flush()
}

// serve runs a TURN server for the clients of a socket until that ends, and
// closes it.
func (r *Relay) serve(conn socket, at place, open func(*door) (clients, error)) error {
	defer conn.Close()
	d := &door{relay: r, now: r.now().UnixNano(), conns: map[netip.AddrPort]*relayConn{}}
	var err error
	if d.clients, err = open(d); err != nil {
		return err
	}
	g := &guarded{socket: conn, clients: d.clients, door: d, answers: r.answers, at: at, ended: make(chan struct{})}
	_, err = turn.NewServer(turn.ServerConfig{
		Realm:         realm,
		AuthHandler:   d.authenticate,
		LoggerFactory: r.logs,
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            g,
			RelayAddressGenerator: d,
			PermissionHandler:     d.permit,
		}},
	})
	if err != nil {
		return err
	}
	<-g.ended
	for _, c := range d.allocations() {
		c.Close()
	}
	return nil
}

// read says that something has arrived.
func (d *door) read() { d.now = d.relay.now().UnixNano() }

// flush sends what was collected for whom the clients relay to.
func (d *door) flush() {
	for i, c := range d.unsent {
		c.out.Flush() // the end of its socket is told by its reads
		d.unsent[i] = nil
	}
	d.unsent = d.unsent[:0]
}

// begin says which message the TURN server handles next.
func (d *door) begin(m message) {
	d.verdict = allowed
	if m.kind() != channelBindRequest {
		return
	}
	d.channel = channel{peer: m.xorAddress(m.find(attrXORPeerAddress))}
	if number := m.find(attrChannelNumber); len(number) == 4 {
		d.channel.number = binary.BigEndian.Uint16(number)
	}
}

// relayChannel relays channel data of a client. Without an allocation or that
// channel it is lost.
func (d *door) relayChannel(p []byte, client netip.AddrPort) {
	if c := d.conn(client); c != nil {
		length := binary.BigEndian.Uint16(p[2:])
		c.fromChannel(binary.BigEndian.Uint16(p), p[channelHeader:][:length])
	}
}

func (d *door) conn(client netip.AddrPort) *relayConn {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.conns[client]
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
	has := d.conn(client)
	switch {
	case has != nil && has.login.username != username:
		d.verdict = wrongUser
		return nil, false
	case has == nil && !d.relay.now().Before(expires):
		return nil, false
	case d.relay.table.refuses(peer, expires.Add(-Validity)):
		return nil, false
	}
	key := turn.GenerateAuthKey(username, realm, d.relay.password(username))
	d.login = login{from: client, username: username, peer: peer, key: key}
	return key, true
}

// permit is asked before each permission and channel.
func (d *door) permit(from net.Addr, peer net.IP) bool {
	d.verdict = forbidden
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
		d.verdict = wrongFamily
		return false
	}
	relayOnly := ip == d.relay.table.at.IP || !d.relay.policy.permits(ip)
	if relayOnly && !d.relay.table.hasRelay(ip) {
		return false
	}
	d.verdict = noCapacity
	if c := d.conn(client); c == nil || !c.permit(ip, relayOnly) {
		return false
	}
	d.verdict = allowed
	return true
}

// Validate is part of the generator of relay addresses.
func (d *door) Validate() error { return nil }

// AllocatePacketConn makes the socket of an allocation for the login whose
// request is being handled.
func (d *door) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	c, err := d.relay.table.open(d, port)
	if err != nil {
		d.verdict = noCapacity
		if errors.Is(err, errQuota) {
			d.verdict = quotaReached
		}
		return nil, nil, err
	}
	d.mu.Lock()
	d.conns[c.login.from] = c
	d.mu.Unlock()
	return c, net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.relay.table.at.IP, c.port)), nil
}

// AllocateConn would be RFC 6062, which is not offered.
func (d *door) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, net.ErrClosed
}

func (d *door) forget(c *relayConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns[c.login.from] == c {
		delete(d.conns, c.login.from)
	}
}

// allocations are those that its clients have now.
func (d *door) allocations() []*relayConn {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Collect(maps.Values(d.conns))
}

// socket is what a TURN server asks of a connection beside messages.
type socket interface {
	LocalAddr() net.Addr
	Close() error
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}
