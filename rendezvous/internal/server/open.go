package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/certs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/cluster"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/config"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/hub"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/listener"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/metrics"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/restserver"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/secrets"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

// parts holds everything that runs, in the order in which open creates it. The parts call
// each other only after all of them exist: nothing runs before.
type parts struct {
	settings *config.Settings
	version  string
	reload   <-chan struct{}

	ports    ports
	metrics  *metrics.Metrics
	database *database.Database
	certs    *certs.Certificates
	listener *listener.Listener
	relay    *relay.Relay
	cluster  *cluster.Cluster
	services *services.Services
	hub      *hub.Hub
	draining restserver.DrainState
	rest     *restserver.Server
	joinLink string
}

// open creates all parts. It begins with the ports, which fail most often. If it fails,
// close must be called.
func (p *parts) open(ctx context.Context) (err error) {
	s := p.settings
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w: choose another with --data, or let this user write there", err)
	}
	if err := p.ports.open(s); err != nil {
		return err
	}
	if err := s.Locate(p.ports.https.Addr()); err != nil {
		return err
	}
	p.metrics = metrics.New(p.version)
	if p.database, err = database.Open(ctx, database.Location{URL: s.DatabaseURL, Dir: s.Data}); err != nil {
		return err
	}
	for _, open := range []func(context.Context) error{
		p.openCertificates, p.openListener, p.openRelay, p.openCluster, p.openServices, p.openHub, p.openREST,
	} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	if p.joinLink, err = p.links().Join(ctx, p.services.Invites, s.Open); err != nil {
		return err
	}
	return p.links().Admin(ctx, p.services.Administration)
}

// close closes what open has opened and Run has not closed. It may be called more than
// once.
func (p *parts) close() error {
	err := p.ports.close()
	if p.rest != nil {
		p.rest.Close()
	}
	if p.database != nil {
		if failed := p.database.Close(); failed != nil {
			err = errors.Join(err, fmt.Errorf("close the database: %w", failed))
		}
	}
	return err
}

// links returns the links of this server. Clients see the certificate of this server, or
// of the reverse proxy that terminates TLS.
func (p *parts) links() accesslink.Links {
	pin := p.certs.Pin()
	if len(p.settings.Proxies) > 0 {
		pin = p.settings.ProxyPin
	}
	return accesslink.Links{Dir: p.settings.Data, Origin: p.settings.Origin(), Pin: pin}
}

// openCertificates selects the source of the certificate.
func (p *parts) openCertificates(ctx context.Context) error {
	s := p.settings
	tickets, err := secrets.Get(ctx, p.database.Secrets, secrets.Tickets)
	if err != nil {
		return err
	}
	c := certs.Config{
		Data: s.Data, Host: s.PublicHost, Secret: append(tickets, s.KeyBytes...), Reload: p.reload,
		Logger: s.Logger.With("part", "certificate"),
	}
	if s.TLSCert != "" {
		c.Files = &certs.Files{Cert: s.TLSCert, Key: s.TLSKey}
	}
	if s.ACME.On {
		c.ACME = &certs.ACME{
			Email: s.ACME.Email, Directory: s.ACME.Directory, CA: s.ACME.CA, Account: s.Account,
			HTTPS: p.ports.https.Addr(), Store: certs.Store{Blobs: p.database.Blobs, Locks: p.database.Locks},
			Key: s.KeyBytes,
		}
		if p.ports.redirect != nil {
			c.ACME.HTTP = p.ports.redirect.Addr()
		}
		_, port, err := net.SplitHostPort(s.Listen)
		if err == nil && port != "443" && s.ACME.Listen == "" && s.ACME.Directory == certs.LetsEncrypt {
			s.Logger.Warn("the authority needs port 443: forward it to --listen, or port 80 to --acme-http-listen",
				"addr", s.Listen)
		}
	}
	p.certs, err = certs.New(ctx, c)
	return err
}

// openListener creates the listener that dispatches all TCP connections.
func (p *parts) openListener(context.Context) (err error) {
	s := p.settings
	p.listener, err = listener.New(listener.Config{
		Public: p.ports.https, TURN: p.ports.stun.TCP, Plain: p.ports.http, TLS: p.certs.TLS(),
		Signal:    func(ctx context.Context, conn *tls.Conn) { p.hub.Serve(ctx, conn) },
		Relay:     func(conn net.Conn) { p.relay.Serve(conn) },
		Balancers: s.Balancers, Proxies: s.Proxies, PerSource: s.PerSource,
		Logger: s.Logger.With("part", "listener"),
	})
	if err != nil {
		return err
	}
	p.ports.stun.TCP = p.listener.TURN()
	return nil
}

// openRelay creates the relay.
func (p *parts) openRelay(ctx context.Context) error {
	s := p.settings
	key, err := secrets.Get(ctx, p.database.Secrets, secrets.Relay)
	if err != nil {
		return err
	}
	p.relay, err = relay.New(relay.Config{
		Sockets: p.ports.stun, IP: s.RelayAddress, MinPort: s.PortRange[0], MaxPort: s.PortRange[1],
		Allow: s.RelayNetworks, Secret: key, Quota: s.RelayPerPeer, MaxAllocations: s.RelayAllocations,
		Alternate: s.Alternate[0], PeerRate: flowRate(s.RelayPeerRate, s.RelayPeerPackets),
		Rate: flowRate(s.RelayRate, s.RelayPackets), Logger: s.Logger.With("part", "relay"),
	})
	return err
}

// flowRate converts megabits and packets per second.
func flowRate(megabits, packets int) limits.FlowRate {
	return limits.FlowRate{Bytes: int64(megabits) * 1_000_000 / 8, Packets: int64(packets)}
}

// openCluster creates this instance's membership of the cluster.
func (p *parts) openCluster(ctx context.Context) error {
	s := p.settings
	key, err := secrets.ClusterKey(ctx, p.database.Secrets)
	if err != nil {
		return err
	}
	c := cluster.Config{
		Leases: p.database.Leases, Presence: p.database.Presence, Reports: p.database.Links,
		Name: instanceName(), Listener: p.ports.cluster, Key: key, Region: s.Region, Version: p.version,
		Relay: p.relay.Range().String(), Logger: s.Logger.With("part", "cluster"), OnMembers: p.updateNeighbours,
	}
	if p.ports.cluster != nil {
		if c.Address, err = clusterAddress(s.ClusterAddress, p.ports.cluster.Addr()); err != nil {
			return err
		}
	}
	p.cluster, err = cluster.New(c)
	return err
}

// clusterAddress returns the address at which other instances reach a port.
func clusterAddress(configured string, port net.Addr) (string, error) {
	if configured != "" {
		return configured, nil
	}
	bound, err := netip.ParseAddrPort(port.String())
	if err != nil {
		return "", fmt.Errorf("address for other instances: %w", err)
	}
	return netip.AddrPortFrom(config.MachineAddress(bound.Addr()), bound.Port()).String(), nil
}

// instanceName returns a unique name that begins with the host name.
func instanceName() string {
	var random [4]byte
	rand.Read(random[:]) // never fails: crypto/rand aborts the program instead
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "instance"
	}
	return host[:min(len(host), 64)] + "-" + hex.EncodeToString(random[:])
}

// openServices creates the services over the database.
func (p *parts) openServices(context.Context) (err error) {
	p.services, err = services.New(services.Config{
		Database: p.database, Open: p.settings.Open, RequireBinding: true,
		Logger:    p.settings.Logger.With("part", "registry"),
		OnRevoked: p.revoke, OnRefused: p.metrics.Refused, OnDone: p.metrics.Done, Figures: p.figures,
	})
	return err
}

// openHub creates signalling.
func (p *parts) openHub(context.Context) (err error) {
	features := signal.FeatureLinkReports
	if p.settings.NoPathReports {
		features = 0
	}
	p.hub, err = hub.New(hub.Config{
		Registry: admission{p.services}, Cluster: p.cluster, Features: features,
		Logger: p.settings.Logger.With("part", "signalling"), Observe: p.countMessage,
	})
	return err
}

// openREST creates the REST interface and the admin page.
func (p *parts) openREST(context.Context) error {
	handler, err := restserver.NewHandler(restserver.HandlerConfig{
		Settings: p.settings, Version: p.version, Links: p.links(), Port: p.ports.stun.Port(), Services: p.services,
		Database: p.database, Hub: p.hub, Cluster: p.cluster, Relay: p.relay, Draining: &p.draining,
		Observer: p.metrics, Logger: p.settings.Logger,
	})
	if err != nil {
		return err
	}
	p.rest = restserver.New(p.listener, handler, &p.draining, p.settings.Logger.With("part", "https"))
	return nil
}
