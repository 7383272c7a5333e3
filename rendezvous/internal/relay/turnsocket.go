package relay

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/turn/v2"
)

// turnSocket is one socket through which clients reach the relay: a UDP socket with many clients, or a TCP connection
// with one. Each has a TURN server of its own. That server handles its requests one after the other in one goroutine,
// so an allocation belongs to the client that has just authenticated. All allocations of a TURN socket end with it.
type turnSocket struct {
	relay   *Relay
	clients clients

	// Owned by the goroutine of the TURN server.
	now     int64         // unix nanoseconds: when the current batch of messages was read
	pending []*allocation // with packets to peers that are not sent yet

	// Guarded by mu.
	mu          sync.RWMutex
	allocations map[netip.AddrPort]*allocation // by client
}

// clients is the connection of a TURN socket to its clients.
type clients interface {
	// next returns the next message and its sender. The message is valid until the next call. Errors are final.
	next() ([]byte, netip.AddrPort, error)
	// ready reports whether next returns a message without waiting.
	ready() bool
	// answer sends one message.
	answer(p []byte, to netip.AddrPort) error
	// outbox returns a queue of relayed packets to one client. One goroutine may use it.
	outbox(to netip.AddrPort) outbox
	// address returns a client's address in the form that the TURN server needs.
	address(client netip.AddrPort) net.Addr
}

// outbox queues messages to one client. Each consists of a header, which may be nil, and a payload. flush sends them.
type outbox interface {
	add(header, payload []byte)
	flush()
}

// socket holds the methods that a TURN server needs of a connection in addition to reading and writing.
type socket interface {
	LocalAddr() net.Addr
	Close() error
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// serve runs a TURN server for the clients of a socket until the socket ends, and closes it.
func (r *Relay) serve(conn socket, at place, open func(*turnSocket) (clients, error)) error {
	defer conn.Close()
	s := &turnSocket{relay: r, now: r.now().UnixNano(), allocations: map[netip.AddrPort]*allocation{}}
	var err error
	if s.clients, err = open(s); err != nil {
		return err
	}
	c := &control{socket: conn, turn: s, at: at, ended: make(chan struct{})}
	_, err = turn.NewServer(turn.ServerConfig{
		Realm:         realm,
		AuthHandler:   c.authenticate,
		LoggerFactory: r.logs,
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            c,
			RelayAddressGenerator: c,
			PermissionHandler:     c.permit,
		}},
	})
	if err != nil {
		return err
	}
	<-c.ended
	s.mu.RLock()
	left := slices.Collect(maps.Values(s.allocations))
	s.mu.RUnlock()
	for _, a := range left {
		a.Close()
	}
	return nil
}

// next returns the next message. Before it waits for one, it sends the packets that the messages so far have caused.
func (s *turnSocket) next() ([]byte, netip.AddrPort, error) {
	waits := !s.clients.ready()
	if waits {
		s.flush()
	}
	p, from, err := s.clients.next()
	if waits {
		s.now = s.relay.now().UnixNano()
	}
	if err != nil {
		s.flush()
	}
	return p, from, err
}

// flush sends the queued packets to the relayed peers.
func (s *turnSocket) flush() {
	for i, a := range s.pending {
		a.toPeers.Flush() // an error means that the socket has ended, which its reader notices
		s.pending[i] = nil
	}
	s.pending = s.pending[:0]
}

// relayChannel relays channel data of a client. It drops them if the client has no allocation or no such channel.
func (s *turnSocket) relayChannel(p []byte, client netip.AddrPort) {
	if a := s.allocation(client); a != nil {
		length := binary.BigEndian.Uint16(p[2:])
		a.fromChannel(binary.BigEndian.Uint16(p), p[channelHeader:][:length])
	}
}

// allocation returns the allocation of a client, or nil.
func (s *turnSocket) allocation(client netip.AddrPort) *allocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.allocations[client]
}

// inUse reports whether a client of the socket has an allocation.
func (s *turnSocket) inUse() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.allocations) > 0
}

func (s *turnSocket) remember(a *allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allocations[a.login.client] = a
}

func (s *turnSocket) forget(a *allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.allocations[a.login.client] == a {
		delete(s.allocations, a.login.client)
	}
}
