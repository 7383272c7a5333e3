package rendezvous

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/cluster"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/hub"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/listener"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// Names of the secrets that all instances share through the database.
const (
	secretRelay   = "relay"
	secretCluster = "cluster"
	secretTickets = "session tickets"
	secretBytes   = 32
)

// openServices opens the database and the services over it.
func (s *settings) openServices(ctx context.Context, p *parts) (err error) {
	if p.database, err = database.Open(ctx, s.location()); err != nil {
		return err
	}
	p.services, err = services.New(services.Config{
		Database: p.database, Open: s.Open, RequireBinding: true, Logger: s.Logger.With("part", "registry"),
		OnRevoked: p.revoked, OnRefused: p.metrics.Refused, OnDone: p.metrics.Done, Figures: p.figures,
	})
	return err
}

// location is where the database is.
func (s *settings) location() database.Location {
	return database.Location{URL: s.DatabaseURL, Dir: s.Data}
}

// revoked ends what a peer that was revoked at a moment has at this instance.
func (p *parts) revoked(id ident.PeerID, at time.Time) {
	p.hub.Revoke(id)
	p.relay.Revoke(id, at)
}

// figures is what this instance sees now.
func (p *parts) figures() history.Figures {
	used := p.relay.Usage()
	o := history.Figures{
		Holder: p.cluster.Holder(), Peers: p.hub.Count(),
		RelayBytes:   int64(used.FromClients.Bytes + used.ToClients.Bytes),
		RelayPackets: int64(used.FromClients.Packets + used.ToClients.Packets),
	}
	for _, u := range used.Peers {
		o.Relay = append(o.Relay, history.RelayUse{
			Peer: u.Peer, SentBytes: int64(u.FromClients.Bytes), SentPackets: int64(u.FromClients.Packets),
			ReceivedBytes: int64(u.ToClients.Bytes), ReceivedPackets: int64(u.ToClients.Packets),
		})
	}
	return o
}

// neighbours lets the relay reach those of the other instances.
func (p *parts) neighbours(others []presence.Instance) {
	var ranges []relay.Range
	for _, i := range others {
		if r, err := relay.ParseRange(i.Relay); err == nil { // an older instance does not say
			ranges = append(ranges, r)
		}
	}
	p.relay.SetNeighbours(ranges)
}

// openSignalling makes the hub and its place in the cluster.
func (s *settings) openSignalling(ctx context.Context, p *parts) error {
	seed, err := secret(ctx, p.database.Secrets, secretCluster)
	if err != nil {
		return err
	}
	key, err := ident.KeyFromSeed(seed)
	if err != nil {
		return fmt.Errorf("key of the cluster: %w", err)
	}
	var random [4]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	config := cluster.Config{
		Leases: p.database.Leases, Presence: p.database.Presence, Reports: p.database.Links, Name: instanceName(hex.EncodeToString(random[:])), Listener: p.links, Key: key, Region: s.Region, Version: Version,
		Relay: p.relay.Range().String(), Logger: s.Logger.With("part", "cluster"), OnMembers: p.neighbours,
	}
	if p.links != nil {
		if config.Address, err = s.linkAddress(p.links.Addr()); err != nil {
			return err
		}
	}
	if p.cluster, err = cluster.New(config); err != nil {
		return err
	}
	features := signal.FeatureLinkReports
	if s.NoPathReports {
		features = 0
	}
	p.hub, err = hub.New(hub.Config{
		Registry: admission{p.services}, Cluster: p.cluster, Features: features, Logger: s.Logger.With("part", "signalling"), Observe: p.message,
	})
	return err
}

// linkAddress is how other instances reach the listener for their links.
func (s *settings) linkAddress(listener net.Addr) (string, error) {
	if s.ClusterAddress != "" {
		return s.ClusterAddress, nil
	}
	bound, err := netip.ParseAddrPort(listener.String())
	if err != nil {
		return "", fmt.Errorf("address for other instances: %w", err)
	}
	return netip.AddrPortFrom(s.machineAddress(bound.Addr()), bound.Port()).String(), nil
}

// openFront opens the listener that dispatches all TCP connections.
func (s *settings) openFront(p *parts) (err error) {
	p.front, err = listener.New(listener.Config{
		Public: p.listener, TURN: p.sockets.TCP, Plain: p.plain, TLS: p.certs.TLS(),
		Signal:    func(ctx context.Context, conn *tls.Conn) { p.hub.Serve(ctx, conn) },
		Relay:     func(conn net.Conn) { p.relay.Serve(conn) },
		Balancers: s.balancers, Proxies: s.proxies, PerSource: s.PerSource,
		Logger: s.Logger.With("part", "listener"),
	})
	if err != nil {
		return err
	}
	p.sockets.TCP = p.front.TURN()
	return nil
}

// openRelay makes the relay.
func (s *settings) openRelay(ctx context.Context, p *parts) error {
	key, err := secret(ctx, p.database.Secrets, secretRelay)
	if err != nil {
		return err
	}
	p.relay, err = relay.New(relay.Config{
		Sockets: p.sockets, IP: s.relayIP, MinPort: s.ports[0], MaxPort: s.ports[1], Allow: s.relayAllow,
		Secret: key, Quota: s.RelayPerPeer, MaxAllocations: s.RelayAllocations, Alternate: s.alternate[0],
		PeerRate: rate(s.RelayPeerRate, s.RelayPeerPackets), Rate: rate(s.RelayRate, s.RelayPackets),
		Logger: s.Logger.With("part", "relay"),
	})
	return err
}

// rate converts the settings' megabits and packets per second.
func rate(megabits, packets int) limits.FlowRate {
	return limits.FlowRate{Bytes: int64(megabits) * 1_000_000 / 8, Packets: int64(packets)}
}

// secret returns the one of that name that all instances share.
func secret(ctx context.Context, store registry.SecretStore, name string) ([]byte, error) {
	fresh := make([]byte, secretBytes)
	rand.Read(fresh) // never fails: crypto/rand ends the program instead
	value, err := store.Secret(ctx, name, fresh)
	if err != nil {
		return nil, fmt.Errorf("secret of the %s: %w", name, err)
	}
	return value, nil
}

// admission is the registry as the hub asks it.
type admission struct{ services *services.Services }

// Admit says whether a peer may connect.
func (a admission) Admit(ctx context.Context, id ident.PeerID) error {
	_, err := a.services.Directory.Peer(ctx, id)
	if !errors.Is(err, peers.ErrNotFound) {
		return err
	}
	switch revoked, err := a.services.Revocations.Revoked(ctx, id); {
	case err != nil:
		return err
	case revoked:
		return hub.ErrRevoked
	}
	return hub.ErrUnknown
}

// Allowed reports whether the receiver of a route accepts messages of the sender.
func (a admission) Allowed(ctx context.Context, r hub.Route) (bool, error) {
	return a.services.AllowList.Allowed(ctx, peers.Permission{Owner: r.To, Peer: r.From})
}

// onlinePeers knows who is connected, here or at another instance.
type onlinePeers struct {
	hub     *hub.Hub
	cluster *cluster.Cluster
}

// Online reports whether a peer has a signalling connection.
func (p onlinePeers) Online(ctx context.Context, id ident.PeerID) (bool, error) {
	if p.hub.Online(id) {
		return true, nil
	}
	return p.cluster.Elsewhere(ctx, id)
}

// relayAccess gives peers what they need to use the relay.
type relayAccess struct {
	relay *relay.Relay
	uris  []string
}

// Credentials issues credentials for a peer.
func (r relayAccess) Credentials(_ context.Context, id ident.PeerID) (api.RelayCredentials, error) {
	c := r.relay.Issue(id)
	return api.RelayCredentials{Username: c.Username, Password: c.Password, URIs: r.uris, Expires: c.Expires}, nil
}
