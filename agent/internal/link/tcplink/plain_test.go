package tcplink

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// tcpPair returns the two sides of a TCP connection.
func tcpPair(t *testing.T) (dialer, acceptor net.Conn) {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	if dialer, err = net.Dial("tcp", port.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	if acceptor, err = port.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = acceptor.Close() })
	return dialer, acceptor
}

// tap is a connection that records what is written to it.
type tap struct {
	net.Conn
	wrote []byte
	hold  bool // whether writes are only recorded
}

func (c *tap) Write(b []byte) (int, error) {
	c.wrote = append(c.wrote, b...)
	if c.hold {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// peerPair is a connection between two peers that have authenticated each other.
type peerPair struct {
	security                 map[side]*security
	dialer, acceptor         net.Conn
	fromDialer, fromAcceptor *tap // the raw connections
}

func newPeerPair(t *testing.T, mode Mode) *peerPair {
	t.Helper()
	p := &peerPair{security: make(map[side]*security)}
	for _, s := range []side{sideDialer, sideAcceptor} {
		var err error
		if p.security[s], err = newSecurity(mode, s, newKey(t), anyone); err != nil {
			t.Fatal(err)
		}
	}
	p.connect(t)
	return p
}

// connect makes a new connection between the same peers.
func (p *peerPair) connect(t *testing.T) {
	t.Helper()
	dialer, acceptor := tcpPair(t)
	p.fromDialer, p.fromAcceptor = &tap{Conn: dialer}, &tap{Conn: acceptor}
	accepted := make(chan error, 1)
	go func() {
		var err error
		p.acceptor, _, err = p.security[sideAcceptor].secure(t.Context(), p.fromAcceptor)
		accepted <- err
	}()
	var err error
	if p.dialer, _, err = p.security[sideDialer].secure(t.Context(), p.fromDialer); err != nil {
		t.Fatal(err)
	}
	if err := linktest.Within(t, accepted, "the acceptor to authenticate the dialer"); err != nil {
		t.Fatal(err)
	}
}

// transfer sends a text from the dialer to the acceptor and returns the bytes on
// the network.
func (p *peerPair) transfer(t *testing.T, text string) []byte {
	t.Helper()
	sent := p.record(t, text, false)
	got := make([]byte, len(text))
	if _, err := io.ReadFull(p.acceptor, got); err != nil || string(got) != text {
		t.Fatalf("%q arrived as %q: %v", text, got, err)
	}
	return sent
}

// record has the dialer write a text, and returns the bytes on the network. If
// hold is true they do not reach the acceptor.
func (p *peerPair) record(t *testing.T, text string, hold bool) []byte {
	t.Helper()
	p.fromDialer.wrote, p.fromDialer.hold = nil, hold
	if _, err := p.dialer.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	p.fromDialer.hold = false
	return slices.Clone(p.fromDialer.wrote)
}

// An attacker on the path manipulates the chunks. The acceptor delivers nothing
// except what the dialer sent at this point of this connection.
func TestPlainChunksResistAttacks(t *testing.T) {
	for name, attack := range map[string]func(t *testing.T, p *peerPair) (toAcceptor []byte){
		"changed payload": func(t *testing.T, p *peerPair) []byte {
			b := p.record(t, "second", true)
			b[5] ^= 1
			return b
		},
		"changed length": func(t *testing.T, p *peerPair) []byte {
			b := p.record(t, "second", true)
			b[3]--
			return append(b, 0)
		},
		"changed tag": func(t *testing.T, p *peerPair) []byte {
			b := p.record(t, "second", true)
			b[len(b)-1] ^= 0x80
			return b
		},
		"repeated chunk": func(t *testing.T, p *peerPair) []byte {
			return p.transfer(t, "second")
		},
		"chunk left out": func(t *testing.T, p *peerPair) []byte {
			p.record(t, "second", true)
			return p.record(t, "third", true)
		},
		"chunks in another order": func(t *testing.T, p *peerPair) []byte {
			second := p.record(t, "second", true)
			return append(p.record(t, "third", true), second...)
		},
		"reflected chunk": func(t *testing.T, p *peerPair) []byte {
			p.fromAcceptor.wrote = nil
			for range 2 { // the second chunk of the acceptor has the counter that comes next
				if _, err := p.acceptor.Write([]byte("second")); err != nil {
					t.Fatal(err)
				}
			}
			return p.fromAcceptor.wrote[len(p.fromAcceptor.wrote)/2:]
		},
		"chunk of another connection": func(t *testing.T, p *peerPair) []byte {
			other := *p
			other.connect(t)
			other.transfer(t, "first")
			return other.record(t, "second", true)
		},
		"TLS record": func(*testing.T, *peerPair) []byte {
			return append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...)
		},
		"empty chunk": func(*testing.T, *peerPair) []byte { return make([]byte, 4+tagSize) },
		"huge chunk":  func(*testing.T, *peerPair) []byte { return []byte{0, 1, 0, 1} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeerPair(t, Plain)
			p.transfer(t, "first")
			if _, err := p.fromDialer.Conn.Write(attack(t, p)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the error is final
				n, err := p.acceptor.Read(make([]byte, 100))
				if n > 0 || !errors.Is(err, tunnel.ErrMalformed) {
					t.Errorf("%d bytes were delivered, error %v", n, err)
				}
			}
		})
	}
}

func TestPlainChunkThatIsCutIsNotDelivered(t *testing.T) {
	p := newPeerPair(t, Plain)
	p.transfer(t, "first")
	b := p.record(t, "second", true)
	if _, err := p.fromDialer.Conn.Write(b[:len(b)-1]); err != nil {
		t.Fatal(err)
	}
	_ = p.fromDialer.Conn.(*net.TCPConn).CloseWrite()
	if n, err := p.acceptor.Read(make([]byte, 100)); n > 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes were delivered, error %v", n, err)
	}
}

// An attacker who swaps a link's two connections after the handshake ends both.
func TestSwappedConnectionsDeliverNothing(t *testing.T) {
	one := newPeerPair(t, Plain)
	other := *one
	other.connect(t)
	fromOne, fromOther := one.record(t, "interactive", true), other.record(t, "bulk", true)
	for p, b := range map[*peerPair][]byte{one: fromOther, &other: fromOne} {
		if _, err := p.fromDialer.Conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if n, err := p.acceptor.Read(make([]byte, 100)); n > 0 || !errors.Is(err, tunnel.ErrMalformed) {
			t.Errorf("%d bytes were delivered, error %v", n, err)
		}
	}
}

// A peer whose TLS layer sends session tickets before the switch is understood:
// the ticket is not taken for a chunk.
func TestSessionTicketsDoNotDisturbPlainMode(t *testing.T) {
	p := newPeerPair(t, Plain)
	client, server := p.security[sideDialer].tls, p.security[sideAcceptor].tls
	client.SessionTicketsDisabled, server.SessionTicketsDisabled = false, false
	tickets := &ticketCache{}
	client.ClientSessionCache = tickets
	p.connect(t)
	p.transfer(t, "to the acceptor")
	if _, err := p.acceptor.Write([]byte("to the dialer")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := p.dialer.Read(b); err != nil || string(b[:n]) != "to the dialer" {
		t.Errorf("%q arrived, error %v", b[:n], err)
	}
	if tickets.put == 0 {
		t.Error("the acceptor sent no ticket, so the test has tested nothing")
	}
}

// ticketCache counts session tickets.
type ticketCache struct{ put int }

func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *ticketCache) Put(string, *tls.ClientSessionState)        { c.put++ }

// A dialer that does not send the switch, but application data or chunks, is
// refused.
func TestDialerMustSwitchBeforeChunks(t *testing.T) {
	for name, send := range map[string]func(t *testing.T, encrypted, raw net.Conn){
		"application data": func(t *testing.T, encrypted, _ net.Conn) {
			write(t, encrypted, join{}.encode())
		},
		"switch with more behind it": func(t *testing.T, encrypted, _ net.Conn) {
			write(t, encrypted, append([]byte(switchText), join{}.encode()...))
		},
		"chunk": func(t *testing.T, _, raw net.Conn) {
			keyless, err := newChunkConn(raw, make([]byte, keySize), make([]byte, keySize))
			if err != nil {
				t.Fatal(err)
			}
			write(t, keyless, join{}.encode())
		},
		"end of the TLS connection": func(t *testing.T, encrypted, _ net.Conn) { _ = encrypted.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := newSecurity(Plain, sideAcceptor, newKey(t), anyone)
			if err != nil {
				t.Fatal(err)
			}
			raw, acceptorEnd := tcpPair(t)
			encrypted := tls.Client(raw, peerConfig(t, newKey(t), Plain.alpn()))
			handshake := make(chan error, 1)
			go func() { handshake <- encrypted.HandshakeContext(t.Context()) }()
			secure, _, err := s.secure(t.Context(), acceptorEnd)
			if err != nil {
				t.Fatal(err)
			}
			if err := linktest.Within(t, handshake, "the handshake to end"); err != nil {
				t.Fatal(err)
			}
			send(t, encrypted, raw)
			if n, err := secure.Read(make([]byte, 100)); n > 0 || err == nil {
				t.Errorf("%d bytes were delivered, error %v", n, err)
			}
		})
	}
}

func write(t *testing.T, to net.Conn, b []byte) {
	t.Helper()
	if _, err := to.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestTLSLayerCannotWriteAfterSwitch(t *testing.T) {
	var network bytes.Buffer
	r := &recordReader{Conn: sink{Writer: &network}, closed: true}
	if n, err := r.Write([]byte{21, 3, 3, 0, 2, 2, 10}); n > 0 || !errors.Is(err, errSwitched) || network.Len() > 0 {
		t.Errorf("wrote %d bytes, error %v", network.Len(), err)
	}
}

// The two directions and different connections have different keys.
func TestPlainKeysDiffer(t *testing.T) {
	p := newPeerPair(t, Plain)
	var chunks [][]byte
	for range 2 {
		p.fromDialer.wrote, p.fromAcceptor.wrote = nil, nil
		for _, c := range []net.Conn{p.dialer, p.acceptor} {
			write(t, c, []byte("the same text with the same counter"))
		}
		chunks = append(chunks, p.fromDialer.wrote, p.fromAcceptor.wrote)
		p.connect(t)
	}
	for i, a := range chunks {
		for j, b := range chunks[:i] {
			if bytes.Equal(a, b) {
				t.Errorf("chunks %d and %d have the same tag", i, j)
			}
		}
	}
}
