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

// mux shares one packet conn between the questions to STUN servers and any
// number of ICE agents. A STUN request goes to the agent that its user name
// names, an answer to whoever sent the question; nothing else is delivered,
// so an agent hears no packet of another and no stranger.
type mux struct {
	conn net.PacketConn

	mu      sync.Mutex // guards the rest
	closed  bool
	conns   map[muxKey]*muxConn
	pending map[transaction]*muxConn
	asked   map[transaction]chan<- netip.AddrPort
}

type muxKey struct {
	ufrag string
	ipv6  bool
}

type transaction = [stun.TransactionIDSize]byte

// maxSTUN is the longest STUN message that is read: a check has 120 bytes, and
// no message of ours exceeds the IPv6 minimum MTU (RFC 8489 section 6.1).
const maxSTUN = 1280

func newMux(conn net.PacketConn) *mux {
	return &mux{
		conn:    conn,
		conns:   make(map[muxKey]*muxConn),
		pending: make(map[transaction]*muxConn),
		asked:   make(map[transaction]chan<- netip.AddrPort),
	}
}

// serve delivers packets until the conn ends.
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

// deliver takes what came in; it keeps nothing of b.
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
		c, ask := m.pending[msg.TransactionID], m.asked[msg.TransactionID]
		delete(m.asked, msg.TransactionID)
		m.mu.Unlock()
		switch {
		case ask != nil && ok:
			ask <- seen // has room for the one answer
		case c != nil:
			if ok {
				c.note(from, seen)
			}
			c.push(msg.Raw, from)
		}
	}
}

// reflexive reads the XOR-MAPPED-ADDRESS (RFC 8489 section 14.2): our address
// as the other end sees it.
func reflexive(m *stun.Message) (netip.AddrPort, bool) {
	var x stun.XORMappedAddress
	if v, err := m.Get(stun.AttrXORMappedAddress); err != nil || (len(v) != 8 && len(v) != 20) || x.GetFrom(m) != nil {
		return netip.AddrPort{}, false
	}
	a, ok := netip.AddrFromSlice(x.IP)
	ap := netip.AddrPortFrom(a.Unmap(), uint16(x.Port))
	return ap, ok && ap.Port() != 0 && !ap.Addr().IsUnspecified()
}

// plainAddr is an address as it is compared: without IPv6's mapping and zone.
func plainAddr(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// open makes the conn of an ICE agent for one address family.
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

// find returns the conn, or nil.
func (m *mux) find(key muxKey) *muxConn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conns[key]
}

// close ends what still uses the mux; its packet conn is not its to close.
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

// agentMux is the mux as one ICE agent sees it (ice.UDPMux). Its addresses are
// one for each family, fixed for the agent's life.
type agentMux struct {
	*mux
	addrs []net.Addr
}

// GetListenAddresses returns the base addresses of the host candidates.
func (a *agentMux) GetListenAddresses() []net.Addr { return a.addrs }

// GetConn returns the agent's conn for the family of addr.
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

// RemoveConnByUfrag ends the agent's conns.
func (a *agentMux) RemoveConnByUfrag(ufrag string) {
	for _, ipv6 := range []bool{false, true} {
		if c := a.find(muxKey{ufrag, ipv6}); c != nil {
			c.Close()
		}
	}
}

// Close does nothing: the socket is shared.
func (a *agentMux) Close() error { return nil }

// boundConn is a muxConn with the address that its candidate was given.
type boundConn struct {
	*muxConn
	local net.Addr
}

// LocalAddr returns the candidate's address.
func (b *boundConn) LocalAddr() net.Addr { return b.local }

// isRequest tells a STUN request in bytes that the ICE agent made itself.
func isRequest(b []byte) bool {
	const classBits = 0x0110 // RFC 8489 section 5
	return stun.IsMessage(b) && binary.BigEndian.Uint16(b)&classBits == 0
}

// ended maps the error of a closed conn to the one that ends a candidate's
// read loop quietly.
func ended(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return io.EOF
	}
	return err
}
