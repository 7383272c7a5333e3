package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/quiclink"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/agent/internal/peer"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

const (
	probeEvery  = 5 * time.Minute  // the NAT
	probeTime   = 10 * time.Second // one probe
	serversLeft = 2 * time.Minute  // of credentials, for them to be used again
	maxDirect   = 8                // own addresses told to peers
)

// network is what the agent knows of the network, and what all peers share.
type network struct {
	agent   *Agent
	quic    *quiclink.Endpoint
	paths   *path.Paths
	tlsAddr net.Addr // nil: no listener
	probe   chan struct{}

	mu      sync.Mutex
	servers rvclient.Servers
}

// forPeers is the network as a peer sees it.
func (n *network) forPeers() *peer.Network {
	shared := &peer.Network{
		Self: n.agent.store.Key().ID(), Paths: n.paths, QUIC: n.quic,
		DialDirect: n.dialDirect, Servers: n.turn, Direct: n.direct,
	}
	if n.agent.rendezvous != nil {
		shared.Signal = n.agent.rendezvous
	}
	return shared
}

// dialDirect makes a link to "tls://host:port" or "tcp://host:port".
func (n *network) dialDirect(ctx context.Context, address string, id ident.PeerID) (link.Link, error) {
	scheme, hostPort, _ := strings.Cut(address, "://")
	mode, ok := map[string]tcplink.Mode{"tls": tcplink.TLS, "tcp": tcplink.Plain}[scheme]
	if !ok {
		return nil, fmt.Errorf("%.100q is no direct address", address)
	}
	return tcplink.Dialer{Key: n.agent.store.Key()}.Dial(ctx, mode, hostPort, id)
}

// direct lists the addresses at which this agent takes TLS links.
func (n *network) direct() []string {
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
		n.agent.log.Warn("network interfaces cannot be listed", "err", err)
	}
	var all []string
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && len(all) < maxDirect {
			all = append(all, "tls://"+net.JoinHostPort(ip.IP.String(), port))
		}
	}
	return all
}

// turn returns the STUN and TURN servers with credentials that are still good.
func (n *network) turn(ctx context.Context) ([]path.Server, error) {
	client := n.agent.rendezvous
	if client == nil {
		return nil, errors.New("no rendezvous is set: give its join link with --rendezvous")
	}
	n.mu.Lock()
	servers := n.servers
	n.mu.Unlock()
	if time.Until(servers.Expires) < serversLeft {
		var err error
		if servers, err = client.RelayServers(ctx); err != nil {
			return nil, err
		}
		n.mu.Lock()
		n.servers = servers
		n.mu.Unlock()
	}
	var list []path.Server
	for _, url := range servers.STUN {
		list = append(list, path.Server{URL: url})
	}
	for _, url := range servers.TURN {
		list = append(list, path.Server{URL: url, Username: servers.Username, Password: servers.Password})
	}
	return list, nil
}

// reachable says that the rendezvous has been reached, perhaps from another
// network than before.
func (n *network) reachable() {
	select {
	case n.probe <- struct{}{}:
	default:
	}
}

// run finds out what NAT stands before this machine, whenever that may have
// changed.
func (n *network) run(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.probe:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		n.probeNAT(ctx)
	}
}

func (n *network) probeNAT(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	servers, err := n.turn(ctx)
	if err != nil {
		n.agent.log.Debug("NAT not probed", "err", err)
		return
	}
	nat, err := n.paths.Probe(ctx, servers)
	if err != nil {
		n.agent.log.Info("NAT not probed", "err", err)
		return
	}
	n.agent.log.Info("network probed", "mapping", string(nat.Mapping), "udp_blocked", nat.UDPBlocked, "public", nat.Public.String())
}
