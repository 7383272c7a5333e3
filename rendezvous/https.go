package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/listener"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/web"
)

// Bounds of HTTP requests.
const (
	headerTimeout = 10 * time.Second // of a request's header
	readTimeout   = 30 * time.Second // of a whole request
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
)

// https is the REST interface behind the listener.
type https struct {
	listeners []net.Listener
	server    *http.Server
	requests  context.CancelFunc // ends those that wait for an event
	draining  atomic.Bool
}

var errDraining = errors.New("the instance is stopping")

// newHTTPS makes the REST interface.
func (s *settings) newHTTPS(p *parts) (*https, error) {
	h := &https{listeners: []net.Listener{p.front.HTTPS()}}
	if l := p.front.HTTP(); l != nil {
		h.listeners = append(h.listeners, l)
	}
	stun, turn := s.uris(p.sockets.Port())
	server := api.Server{Name: s.Name, Region: s.Region, Version: Version, SignalALPN: signal.ALPN, STUN: stun, TURN: turn, Open: s.Open}
	r := p.services
	attempts := httpapi.NewAttempts(httpapi.Limit{}, r.Audit, nil)
	pages, err := web.New(web.Config{
		Resources: web.Resources{
			SignIns: r.Administration, Membership: r.Registration, Peers: r.Directory, Revocations: r.Revocations,
			Approvals: r.Approvals, JoinRequests: r.JoinRequests, Invites: r.Invites, Tokens: r.Administration, Audit: r.Audit,
			Instances: r.Instances, Pairs: r.Links, History: r.History,
		},
		Attempts: attempts, Server: server, Origin: s.link("", nil), Logger: s.Logger.With("part", "pages"),
		JoinLink: func(code string) string { return s.joinWith(s.shownPin(p), code) },
	})
	if err != nil {
		return nil, err
	}
	handler, err := httpapi.New(httpapi.Config{
		Resources: httpapi.Resources{
			Registration: r.Registration, PeerTokens: r.Directory, AdminTokens: r.Administration, Peers: r.Directory,
			Allowances: r.AllowList, Mailboxes: r.Mailboxes, Tries: r.Mailboxes, PeerAdmin: r.Directory,
			Revocations: r.Revocations, Approvals: r.Approvals, JoinRequests: r.JoinRequests, Invites: r.Invites,
			Tokens: r.Administration, Audit: r.Audit, Refusals: r.Audit, Instances: r.Instances, Pairs: r.Links,
			History: r.History, Database: p.database,
		},
		Presence:       onlinePeers{p.hub, p.cluster},
		Relay:          relayAccess{p.relay, turn},
		Server:         server,
		TrustedProxies: s.proxies,
		Origin:         ident.OriginOf(net.JoinHostPort(s.publicHost, s.publicPort)),
		Signalling:     p.hub,
		PerSource:      s.PerSource,
		Attempts:       attempts,
		Ready: []httpapi.Check{
			{Name: "lease", Check: func(context.Context) error { return p.cluster.Ready() }},
			{Name: "instance", Check: h.ready},
		},
		Pages:    pages,
		Logger:   s.Logger.With("part", "rest"),
		Observer: p.metrics,
	})
	if err != nil {
		return nil, err
	}
	var base context.Context
	base, h.requests = context.WithCancel(context.Background())
	h.server = &http.Server{
		Handler:           listener.WithTLS(handler),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       listener.ConnContext,
		ErrorLog:          slog.NewLogLogger(s.Logger.With("part", "https").Handler(), slog.LevelDebug),
	}
	return h, nil
}

// uris are the addresses of STUN and TURN, best first. A reverse proxy that ends
// TLS passes no TURN on.
func (s *settings) uris(port uint16) (stun, turn []string) {
	at := func(port uint16) string { return net.JoinHostPort(s.publicHost, strconv.Itoa(int(port))) }
	stun = []string{"stun:" + at(port), "stun:" + at(port+1)}
	turn = []string{
		"turn:" + at(port) + "?transport=udp",
		"turn:" + at(port) + "?transport=tcp",
	}
	if len(s.proxies) == 0 {
		turn = append(turn, "turns:"+net.JoinHostPort(s.publicHost, s.publicPort)+"?transport=tcp")
	}
	return stun, turn
}

// serve answers until ctx ends.
func (h *https) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { h.server.Close() })
	defer stop()
	failed := make(chan error, len(h.listeners))
	for _, l := range h.listeners {
		go func() { failed <- h.server.Serve(l) }()
	}
	var err error
	for range h.listeners {
		if one := <-failed; err == nil && !errors.Is(one, http.ErrServerClosed) {
			err = fmt.Errorf("serve HTTPS: %w", one)
			h.server.Close()
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// refuse makes the instance not ready, so that a load balancer sends nobody
// here any more.
func (h *https) refuse() { h.draining.Store(true) }

func (h *https) ready(context.Context) error {
	if h.draining.Load() {
		return errDraining
	}
	return nil
}

// shutdown finishes the requests.
func (h *https) shutdown(ctx context.Context) error {
	h.requests()
	return h.server.Shutdown(ctx)
}
