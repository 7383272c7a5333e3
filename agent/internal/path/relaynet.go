package path

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/pion/transport/v2/stdnet"
)

// relayNet makes the sockets of one ICE agent to TURN servers. It can close them
// all, to end gathering at once. Without that the ICE agent would wait for every
// server that does not respond.
type relayNet struct {
	*stdnet.Net
	ctx context.Context // of the attempt; the calls of the ICE agent have none
	tls *tls.Config
	// secure holds the servers, as "host:port", that are reached over TLS.
	secure map[string]bool

	mu     sync.Mutex // guards the fields below
	closed bool
	conns  map[relaySocket]relayConn
}

// relaySocket identifies a socket by properties of its candidate.
type relaySocket struct {
	tcp  bool
	port int // local
}

type relayConn interface {
	Close() error
	server() string
}

// dialTimeout bounds the TCP and TLS handshakes with a TURN server.
const dialTimeout = 5 * time.Second

func newRelayNet(ctx context.Context, conf *tls.Config) (*relayNet, error) {
	n, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	return &relayNet{
		Net: n, ctx: ctx, tls: conf,
		secure: make(map[string]bool), conns: make(map[relaySocket]relayConn),
	}, nil
}

// ResolveUDPAddr resolves an address with the context of the attempt.
func (n *relayNet) ResolveUDPAddr(_, address string) (*net.UDPAddr, error) {
	a, err := n.resolve(address)
	if err != nil {
		return nil, err
	}
	return net.UDPAddrFromAddrPort(a), nil
}

func (n *relayNet) resolve(address string) (netip.AddrPort, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return resolve(n.ctx, host, int(port))
}

// ListenPacket makes the socket for one allocation over UDP.
func (n *relayNet) ListenPacket(network, address string) (net.PacketConn, error) {
	c, err := new(net.ListenConfig).ListenPacket(n.ctx, network, address)
	if err != nil {
		return nil, err
	}
	u := newTurnConn(c)
	return u, n.add(relaySocket{port: c.LocalAddr().(*net.UDPAddr).Port}, u)
}

// Dial connects to a TURN server over TCP, or over TLS for a "turns:" URL.
func (n *relayNet) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(n.ctx, dialTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	port := c.LocalAddr().(*net.TCPAddr).Port
	if n.secure[address] {
		conf := &tls.Config{MinVersion: tls.VersionTLS12}
		if n.tls != nil {
			conf = n.tls.Clone()
		}
		conf.ServerName, _, _ = net.SplitHostPort(address)
		t := tls.Client(c, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("TLS to TURN server %s: %w", address, err)
		}
		c = t
	}
	f := newFrameConn(c)
	return f, n.add(relaySocket{tcp: true, port: port}, f)
}

// add adds a socket to conns, or closes it if abort was called.
func (n *relayNet) add(s relaySocket, c relayConn) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = c.Close()
		return net.ErrClosed
	}
	n.conns[s] = c
	return nil
}

// handOver leaves the socket of an allocation that was made to the ICE agent, and
// returns the address of the server.
func (n *relayNet) handOver(s relaySocket) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[s]
	delete(n.conns, s)
	if c == nil {
		return ""
	}
	return c.server()
}

// abort closes the sockets that have no allocation yet, and those made later.
func (n *relayNet) abort() {
	n.mu.Lock()
	n.closed = true
	conns := n.conns
	n.conns = nil
	n.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}
