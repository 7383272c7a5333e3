package network

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/proto/call"
)

const (
	probeInterval = 5 * time.Minute
	probeTimeout  = 10 * time.Second
	// serversMinTTL is the time for which credentials must still be valid to be used
	// again.
	serversMinTTL = 2 * time.Minute
)

// relayServers returns the STUN and TURN servers with valid credentials.
func (n *Network) relayServers(ctx context.Context) ([]path.Server, error) {
	if n.cfg.Rendezvous == nil {
		return nil, errors.New("no rendezvous is set: give its join link with --rendezvous")
	}
	n.mu.Lock()
	servers := n.servers
	n.mu.Unlock()
	if time.Until(servers.Expires) < serversMinTTL {
		var err error
		if servers, err = n.cfg.Rendezvous.RelayServers(ctx); err != nil {
			return nil, err
		}
		n.mu.Lock()
		n.servers = servers
		n.mu.Unlock()
	}
	var all []path.Server
	for _, url := range servers.STUN {
		all = append(all, path.Server{URL: url})
	}
	for _, url := range servers.TURN {
		all = append(all, path.Server{URL: url, Username: servers.Username, Password: servers.Password})
	}
	return all, nil
}

// DescribeNAT returns the result of the last successful probe in words.
func (n *Network) DescribeNAT() string { return n.paths.NAT().Explain() }

// ProbeNAT finds out which kind of NAT is between this machine and the internet.
func (n *Network) ProbeNAT(ctx context.Context) (call.NAT, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	servers, err := n.relayServers(ctx)
	if err != nil {
		return call.NAT{}, err
	}
	return n.paths.Probe(ctx, servers)
}

// watchNAT probes the NAT regularly, and when the rendezvous is connected again.
func (n *Network) watchNAT(ctx context.Context) error {
	if n.cfg.Rendezvous == nil {
		<-ctx.Done() // no server to ask
		return nil
	}
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-n.cfg.Connected:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		nat, err := n.ProbeNAT(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			n.log.Info("cannot probe the NAT", "err", err)
		default:
			n.log.Info("probed the NAT", "mapping", string(nat.Mapping), "udp_blocked", nat.UDPBlocked,
				"public_addr", nat.Public.String())
		}
	}
}
