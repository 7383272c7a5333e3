// Package httpapi serves the REST interface of the rendezvous: it translates
// between HTTP and the registry.
//
// The library huma checks every request against the types of proto/api and
// derives the served OpenAPI document from the same types, so the two cannot
// differ. An answer that reports an error never repeats anything that the client
// sent.
//
// Each resource has a handler type. The interfaces in resources.go list the methods
// of the registry that the handlers need.
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Presence knows which peers have a signalling connection to any instance.
type Presence interface {
	Online(ctx context.Context, id ident.PeerID) (bool, error)
}

// Credentials issues the credentials that peers need to use the relay.
type Credentials interface {
	Credentials(ctx context.Context, id ident.PeerID) (api.RelayCredentials, error)
}

// PathPages is the URL path of the administrators' pages.
const PathPages = "/admin"

// Check is one condition that must hold for the instance to be ready.
type Check struct {
	Name  string // shown in the answer, such as "database"
	Check func(ctx context.Context) error
}

// Config configures the interface.
type Config struct {
	Resources Resources
	Presence  Presence
	Relay     Credentials // nil if the server has no relay
	Server    api.Server  // the answer to GET /v1/server
	// TrustedProxies are the networks whose X-Forwarded-For header is believed.
	// For requests from other networks the client is the remote address of the
	// connection.
	TrustedProxies []netip.Prefix
	Origin         ident.Origin // the origin at which peers reach those proxies
	Signalling     Signalling   // serves api.PathSignal; nil disables that route
	PerSource      int          // signalling connections that one source may have; 0 means 1024
	Limits         Limits
	Attempts       *Attempts    // limits failed administrators; nil makes one from Limits.Admin
	Ready          []Check      // conditions in addition to the database
	Pages          http.Handler // serves / and PathPages with everything below it; nil disables them
	Now            func() time.Time
	Logger         *slog.Logger
	Observer       Observer // nil if nobody observes requests
}

// Observer observes requests.
type Observer interface {
	// Requests is called with 1 when a request begins and with -1 when it ends.
	Requests(change int)
	// Request is called after a request was answered. route is the pattern that
	// the request matched, or "" if it matched none.
	Request(method, route string, status int, took time.Duration)
}

// New returns the handler of the whole interface.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	describeErrors()
	problems := problems{cfg.Logger}
	proxies := proxies{trusted: cfg.TrustedProxies, origin: cfg.Origin}

	router := chi.NewRouter()
	if cfg.Observer != nil {
		router.Use(observe(cfg.Observer))
	}
	router.Use(recoverPanics(cfg.Logger), proxies.clientIP(), withSource, setHeaders, middleware.GetHead)
	router.NotFound(notFound)
	router.MethodNotAllowed(methodNotAllowed)
	documents, err := mountAll(humachi.New(router, description(cfg.Server.Version)), cfg, problems, proxies)
	if err != nil {
		return nil, err
	}
	router.Get(api.PathOpenAPI, documents.openAPI)
	router.Get(api.PathDocs, documents.page)
	health := healthHandler{
		checks: append([]Check{{Name: "database", Check: cfg.Resources.Database.Ping}}, cfg.Ready...),
		logger: cfg.Logger,
	}
	router.Get(api.PathLive, health.live)
	router.Get(api.PathReady, health.ready)
	if cfg.Pages != nil {
		router.Handle("/", cfg.Pages)
		router.Handle(PathPages, cfg.Pages)
		router.Handle(PathPages+"/*", cfg.Pages)
	}
	if cfg.Signalling != nil {
		s := &signalHandler{
			signalling: cfg.Signalling, proxies: proxies,
			connections: limits.NewCounter[netip.Prefix](cfg.PerSource, 0),
		}
		router.Get(api.PathSignal, s.serve)
	}
	return router, nil
}

// complete checks the configuration and fills in defaults.
func (cfg *Config) complete() error {
	if missing := cfg.Resources.missing(); missing != "" {
		return errors.New("REST interface: no " + missing)
	}
	switch {
	case cfg.Presence == nil:
		return errors.New("REST interface: no presence")
	case len(cfg.TrustedProxies) > 0 && cfg.Origin == "":
		return errors.New("REST interface: reverse proxies, but no origin at which peers reach them")
	case len(cfg.Server.STUN) > api.MaxServers || len(cfg.Server.TURN) > api.MaxServers:
		return errors.New("REST interface: more than 16 STUN or TURN addresses")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.PerSource == 0 {
		cfg.PerSource = 1024
	}
	if cfg.Attempts == nil {
		cfg.Attempts = NewAttempts(cfg.Limits.Admin, cfg.Resources.Refusals, cfg.Now)
	}
	return nil
}

// mountAll adds the operations of every resource, and returns their documentation.
func mountAll(humaAPI huma.API, cfg Config, problems problems, proxies proxies) (documents, error) {
	sources := newSourceLimits(cfg.Limits, cfg.Resources.Refusals, cfg.Now)
	guards := &guards{
		byPeer: cfg.Resources.PeerTokens, byAdmin: cfg.Resources.AdminTokens,
		refusals: cfg.Resources.Refusals, problems: problems,
		tokens: sources.tokens, admin: cfg.Attempts.limit, peers: newPeerLimiter(cfg.Limits), now: cfg.Now,
	}
	e := &endpoints{api: humaAPI, guards: guards, problems: problems}
	r := cfg.Resources
	views := peerViews{cfg.Presence}
	(&registrationHandler{registration: r.Registration, peers: r.Peers, limits: sources, proxies: proxies}).mount(e)
	(&peerHandler{peers: r.Peers, revocations: r.Revocations, views: views}).mount(e)
	(&allowanceHandler{r.Allowances}).mount(e)
	(&mailboxHandler{mailboxes: r.Mailboxes}).mount(e)
	(&tryHandler{tries: r.Tries, limits: sources}).mount(e)
	(&adminPeerHandler{peers: r.PeerAdmin, revocations: r.Revocations}).mount(e)
	(&revocationHandler{r.Revocations}).mount(e)
	(&approvalHandler{approvals: r.Approvals, requests: r.JoinRequests}).mount(e)
	(&tokenHandler{tokens: r.Tokens, admin: cfg.Attempts.limit}).mount(e)
	(&inviteHandler{r.Invites}).mount(e)
	(&auditHandler{r.Audit}).mount(e)
	(&instanceHandler{r.Instances}).mount(e)
	(&pairHandler{r.Pairs}).mount(e)
	(&historyHandler{r.History}).mount(e)
	(&serverHandler{registration: r.Registration, info: cfg.Server, relay: cfg.Relay}).mount(e)
	return newDocuments(humaAPI.OpenAPI())
}
