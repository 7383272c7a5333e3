package restserver

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/cluster"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/config"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/hub"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/web"
)

// HandlerConfig holds what the REST interface and the admin page need.
type HandlerConfig struct {
	Settings *config.Settings // located
	Version  string
	Links    accesslink.Links
	Port     uint16 // of STUN and TURN
	Services *services.Services
	Database httpapi.Database
	Hub      *hub.Hub
	Cluster  *cluster.Cluster
	Relay    *relay.Relay
	Draining *DrainState
	Observer httpapi.Observer
	Logger   *slog.Logger
}

// NewHandler returns the handler of the REST interface and the admin page.
func NewHandler(c HandlerConfig) (http.Handler, error) {
	s, r := c.Settings, c.Services
	stun, turn := uris(s, c.Port)
	server := api.Server{
		Name: s.Name, Region: s.Region, Version: c.Version, SignalALPN: signal.ALPN, STUN: stun, TURN: turn,
		Open: s.Open,
	}
	attempts := httpapi.NewAttempts(httpapi.Limit{}, r.Audit, nil)
	pages, err := web.New(web.Config{
		Resources: web.Resources{
			SignIns: r.Administration, Membership: r.Registration, Peers: r.Directory, Revocations: r.Revocations,
			Approvals: r.Approvals, JoinRequests: r.JoinRequests, Invites: r.Invites, Tokens: r.Administration,
			Audit:     r.Audit,
			Instances: r.Instances, Pairs: r.Links, History: r.History,
		},
		Attempts: attempts, Server: server, Origin: c.Links.Origin, Logger: c.Logger.With("part", "pages"),
		JoinLink: c.Links.WithInvite,
	})
	if err != nil {
		return nil, err
	}
	return httpapi.New(httpapi.Config{
		Resources: httpapi.Resources{
			Registration: r.Registration, PeerTokens: r.Directory, AdminTokens: r.Administration, Peers: r.Directory,
			Allowances: r.AllowList, Mailboxes: r.Mailboxes, Tries: r.Mailboxes, PeerAdmin: r.Directory,
			Revocations: r.Revocations, Approvals: r.Approvals, JoinRequests: r.JoinRequests, Invites: r.Invites,
			Tokens: r.Administration, Audit: r.Audit, Refusals: r.Audit, Instances: r.Instances, Pairs: r.Links,
			History: r.History, Database: c.Database,
		},
		Presence:       onlinePeers{c.Hub, c.Cluster},
		Relay:          relayAccess{c.Relay, turn},
		Server:         server,
		TrustedProxies: s.Proxies,
		Origin:         ident.OriginOf(net.JoinHostPort(s.PublicHost, s.PublicPort)),
		Signalling:     c.Hub,
		PerSource:      s.PerSource,
		Attempts:       attempts,
		Ready: []httpapi.Check{
			{Name: "lease", Check: func(context.Context) error { return c.Cluster.Ready() }},
			{Name: "instance", Check: c.Draining.Ready},
		},
		Pages:    pages,
		Logger:   c.Logger.With("part", "rest"),
		Observer: c.Observer,
	})
}

// uris returns the URIs of STUN and TURN, best first. A reverse proxy that terminates
// TLS does not forward TURN.
func uris(s *config.Settings, port uint16) (stun, turn []string) {
	at := func(port uint16) string { return net.JoinHostPort(s.PublicHost, strconv.Itoa(int(port))) }
	stun = []string{"stun:" + at(port), "stun:" + at(port+1)}
	turn = []string{
		"turn:" + at(port) + "?transport=udp",
		"turn:" + at(port) + "?transport=tcp",
	}
	if len(s.Proxies) == 0 {
		turn = append(turn, "turns:"+net.JoinHostPort(s.PublicHost, s.PublicPort)+"?transport=tcp")
	}
	return stun, turn
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
