// Package network owns the sockets of the agent and what the agent knows of the
// network: the STUN and TURN servers, the NAT, and its own addresses.
package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/lifecycle"
	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/quiclink"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/agent/internal/peer"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// maxDirect bounds the own addresses that peers learn.
const maxDirect = 8

// Rendezvous is the part of rvclient.Client that the network uses.
type Rendezvous interface {
	peer.Signaller
	RelayServers(ctx context.Context) (rvclient.Servers, error)
}

// Config holds the settings of a [Network].
type Config struct {
	Key       ident.Key
	Listen    string // UDP address of QUIC links
	TLSListen string // TCP address of TLS links; empty: none
	TCPListen string // TCP address of links without encryption; empty: none
	// Trust returns an error if a peer must not connect.
	Trust func(ident.PeerID) error
	// Accept takes over the links that peers dial. It must not block.
	Accept     func(link.Link)
	Rendezvous Rendezvous // nil: none
	JoinLink   string     // of the rendezvous; empty: none
	// Connected receives a value when the connection to the rendezvous is up again:
	// the machine may be in another network.
	Connected <-chan struct{}
	Logger    *slog.Logger
}

// Network is the network as the agent sees it.
type Network struct {
	cfg       Config
	log       *slog.Logger
	quic      *quiclink.Endpoint
	paths     *path.Paths
	listeners []*tcplink.Listener
	tlsAddr   net.Addr // nil: no TLS listener
	addrs     []string // see Addrs

	mu      sync.Mutex // guards servers
	servers rvclient.Servers
}

// New opens the sockets. The caller calls Run or Close afterwards.
func New(cfg Config) (_ *Network, err error) {
	if cfg.Trust == nil || cfg.Accept == nil || cfg.Logger == nil {
		return nil, errors.New("network: a required field of the configuration is missing")
	}
	n := &Network{cfg: cfg, log: cfg.Logger}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	n.quic, err = quiclink.NewEndpoint(quiclink.Config{
		Key: cfg.Key, Listen: cfg.Listen, Trust: cfg.Trust, Accept: cfg.Accept, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, ListenError(err, "--listen", cfg.Listen)
	}
	n.addrs = append(n.addrs, "udp "+n.quic.LocalAddr().String())
	relayTLS, err := relayTLS(cfg.JoinLink)
	if err != nil {
		return nil, err
	}
	n.paths, err = path.New(path.Config{
		Conn: n.quic.NonQUIC(), Logger: cfg.Logger, AllowLoopback: isLoopback(n.quic.LocalAddr()), TLS: relayTLS,
	})
	if err != nil {
		return nil, err
	}
	if cfg.TLSListen != "" {
		if n.tlsAddr, err = n.listen(tcplink.TLS, "--tls-listen", cfg.TLSListen); err != nil {
			return nil, err
		}
	}
	if cfg.TCPListen != "" {
		at, err := n.listen(tcplink.Plain, "--tcp-listen", cfg.TCPListen)
		if err != nil {
			return nil, err
		}
		n.log.Warn("links to this address are authenticated but NOT encrypted", "addr", at.String())
	}
	return n, nil
}

func (n *Network) listen(mode tcplink.Mode, flag, addr string) (net.Addr, error) {
	ln, err := tcplink.NewListener(tcplink.Config{
		Key: n.cfg.Key, Mode: mode, Listen: addr, Trust: n.cfg.Trust, Accept: n.cfg.Accept, Logger: n.log,
	})
	if err != nil {
		return nil, ListenError(err, flag, addr)
	}
	n.listeners = append(n.listeners, ln)
	n.addrs = append(n.addrs, mode.String()+" "+ln.Addr().String())
	return ln.Addr(), nil
}

// Close closes the sockets. Run does the same when it ends.
func (n *Network) Close() {
	for _, ln := range n.listeners {
		ln.Close()
	}
	if n.quic != nil {
		n.quic.Close()
	}
}

// Run accepts links, and finds out the NAT whenever it may have changed, until ctx
// ends.
func (n *Network) Run(ctx context.Context) error {
	defer n.Close()
	parts := []lifecycle.Part{n.quic.Run, n.paths.Run, n.watchNAT}
	for _, ln := range n.listeners {
		parts = append(parts, ln.Run)
	}
	return lifecycle.Run(ctx, parts...)
}

// Addrs returns the addresses at which the agent listens, such as
// "udp 0.0.0.0:41641".
func (n *Network) Addrs() []string { return n.addrs }

// ForPeers returns the network as peers use it.
func (n *Network) ForPeers() *peer.Network {
	shared := &peer.Network{
		Self: n.cfg.Key.ID(), Paths: n.paths, QUIC: n.quic,
		DialDirect: n.dialDirect, Servers: n.relayServers, Direct: n.Direct,
	}
	if n.cfg.Rendezvous != nil {
		shared.Signal = n.cfg.Rendezvous
	}
	return shared
}

// dialDirect makes a link to "tls://host:port" or "tcp://host:port".
func (n *Network) dialDirect(ctx context.Context, address string, id ident.PeerID) (link.Link, error) {
	scheme, hostPort, _ := strings.Cut(address, "://")
	mode, ok := map[string]tcplink.Mode{"tls": tcplink.TLS, "tcp": tcplink.Plain}[scheme]
	if !ok {
		return nil, fmt.Errorf("%.100q is not a direct address", address)
	}
	return tcplink.Dialer{Key: n.cfg.Key}.Dial(ctx, mode, hostPort, id)
}

// Direct returns the addresses at which the agent accepts TLS links.
func (n *Network) Direct() []string {
	tcp, ok := n.tlsAddr.(*net.TCPAddr)
	if !ok {
		return nil
	}
	port := fmt.Sprint(tcp.Port)
	if !tcp.IP.IsUnspecified() {
		return []string{"tls://" + net.JoinHostPort(tcp.IP.String(), port)}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		n.log.Warn("cannot list the network interfaces", "err", err)
	}
	var all []string
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && len(all) < maxDirect {
			all = append(all, "tls://"+net.JoinHostPort(ip.IP.String(), port))
		}
	}
	return all
}

// relayTLS returns the TLS configuration for the relays of the rendezvous. They
// present the certificate that the join link pins. A join link without a pin means
// a certificate of a public authority. The ALPN name separates TURN from HTTPS on the
// same port (RFC 7443).
func relayTLS(joinLink string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if joinLink != "" {
		join, err := api.ParseJoinLink(joinLink)
		if err != nil {
			return nil, err
		}
		if join.Pin != nil {
			c = ident.PinnedTLS(*join.Pin)
		}
	}
	c.NextProtos = []string{"stun.turn"}
	return c, nil
}

// isLoopback reports whether only this machine reaches the address. Then its peers
// run on this machine too.
func isLoopback(addr net.Addr) bool {
	udp, ok := addr.(*net.UDPAddr)
	return ok && udp.IP.IsLoopback()
}

// ListenError explains which flag changes an address that cannot be listened on.
func ListenError(err error, flag, addr string) error {
	return fmt.Errorf(
		"cannot listen on %s (%w): another program may use the port; choose another with %s", addr, err, flag)
}
