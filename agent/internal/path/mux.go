package path

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/pion/stun"
)

// mux shares one packet connection between queries to STUN servers and any number
// of ICE agents. It delivers a STUN request to the agent that the user name names,
// and a response to the sender of the request. It drops all other packets. So an
// agent gets no packets for another agent.
type mux struct {
	conn net.PacketConn

	mu      sync.Mutex // guards the fields below
	closed  bool
	conns   map[muxKey]*muxConn
	checks  map[transaction]*muxConn
	queries map[transaction]chan<- netip.AddrPort
}

type muxKey struct {
	ufrag string
	ipv6  bool
}

type transaction = [stun.TransactionIDSize]byte

// maxSTUN bounds the STUN messages that are read, in bytes. A check has 120 bytes,
// and no message exceeds the minimum MTU of IPv6 (RFC 8489 section 6.1).
const maxSTUN = 1280

func newMux(conn net.PacketConn) *mux {
	return &mux{
		conn:    conn,
		conns:   make(map[muxKey]*muxConn),
		checks:  make(map[transaction]*muxConn),
		queries: make(map[transaction]chan<- netip.AddrPort),
	}
}

// serve delivers packets until the connection fails.
func (m *mux) serve() error {
	buf := make([]byte, maxSTUN+1)
	for {
		n, from, err := m.conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("read from the shared socket: %w", err)
		}
		if from, ok := from.(*net.UDPAddr); ok {
			m.deliver(buf[:n], plainAddr(from.AddrPort()))
		}
	}
}

// deliver delivers a packet. It does not retain b.
func (m *mux) deliver(b []byte, from netip.AddrPort) {
	if len(b) > maxSTUN || !stun.IsMessage(b) {
		return
	}
	msg := &stun.Message{Raw: append([]byte(nil), b...)}
	if msg.Decode() != nil {
		return
	}
	switch msg.Type.Class {
	case stun.ClassRequest, stun.ClassIndication:
		user, err := msg.Get(stun.AttrUsername)
		if err != nil {
			return
		}
		ufrag, _, _ := strings.Cut(string(user), ":")
		m.find(muxKey{ufrag, from.Addr().Is6()}).push(msg.Raw, from)
	case stun.ClassSuccessResponse, stun.ClassErrorResponse:
		seen, ok := reflexive(msg)
		m.mu.Lock()
		c, query := m.checks[msg.TransactionID], m.queries[msg.TransactionID]
		delete(m.queries, msg.TransactionID)
		m.mu.Unlock()
		switch {
		case query != nil && ok:
			query <- seen // the buffer has space for the one response
		case c != nil:
			if ok {
				c.noteSeen(from, seen)
			}
			c.push(msg.Raw, from)
		}
	}
}

// reflexive returns the XOR-MAPPED-ADDRESS (RFC 8489 section 14.2): the address of
// this socket as the sender of the message sees it.
func reflexive(m *stun.Message) (netip.AddrPort, bool) {
	var x stun.XORMappedAddress
	if v, err := m.Get(stun.AttrXORMappedAddress); err != nil || (len(v) != 8 && len(v) != 20) || x.GetFrom(m) != nil {
		return netip.AddrPort{}, false
	}
	a, ok := netip.AddrFromSlice(x.IP)
	ap := netip.AddrPortFrom(a.Unmap(), uint16(x.Port))
	return ap, ok && ap.Port() != 0 && !ap.Addr().IsUnspecified()
}

// plainAddr returns an address without zone, and as IPv4 if it is an IPv4-mapped
// IPv6 address.
func plainAddr(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// open returns the connection of an ICE agent for one address family.
func (m *mux) open(key muxKey) (*muxConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, net.ErrClosed
	}
	if c := m.conns[key]; c != nil {
		return c, nil
	}
	c := newMuxConn(m, key)
	m.conns[key] = c
	return c, nil
}

// find returns a connection, or nil.
func (m *mux) find(key muxKey) *muxConn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conns[key]
}

// close closes the connections of all ICE agents. The packet connection stays open.
func (m *mux) close() {
	m.mu.Lock()
	m.closed = true
	var all []*muxConn
	for _, c := range m.conns {
		all = append(all, c)
	}
	m.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// agentMux is the ice.UDPMux of one ICE agent. It has one address for each family,
// which never changes.
type agentMux struct {
	*mux
	addrs []net.Addr
}

// GetListenAddresses returns the base addresses of the host candidates.
func (a *agentMux) GetListenAddresses() []net.Addr { return a.addrs }

// GetConn returns the agent's connection for the family of addr.
func (a *agentMux) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	u, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("mux %v: not a UDP address", addr)
	}
	c, err := a.open(muxKey{ufrag, u.IP.To4() == nil})
	if err != nil {
		return nil, err
	}
	return &boundConn{c, u}, nil
}

// RemoveConnByUfrag closes the agent's connections.
func (a *agentMux) RemoveConnByUfrag(ufrag string) {
	for _, ipv6 := range []bool{false, true} {
		if c := a.find(muxKey{ufrag, ipv6}); c != nil {
			c.Close()
		}
	}
}

// Close does nothing, because the socket is shared.
func (a *agentMux) Close() error { return nil }

// boundConn is a muxConn with the address of its candidate.
type boundConn struct {
	*muxConn
	local net.Addr
}

// LocalAddr returns the candidate's address.
func (b *boundConn) LocalAddr() net.Addr { return b.local }

// isRequest reports whether bytes that the ICE agent sends are a STUN request.
func isRequest(b []byte) bool {
	const classBits = 0x0110 // RFC 8489 section 5
	return stun.IsMessage(b) && binary.BigEndian.Uint16(b)&classBits == 0
}

// closedToEOF replaces the error of a closed connection by io.EOF, which ends the
// read loop of a candidate without a warning.
func closedToEOF(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return io.EOF
	}
	return err
}
