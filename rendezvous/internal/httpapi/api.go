// Package httpapi is the REST interface of a rendezvous over its registry: the
// door between HTTP and the rest. Requests are checked against the types of
// proto/api, of which the served OpenAPI document is made too, so that the two
// cannot differ. Nothing that was sent is ever repeated in an error.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Presence knows who has a signalling connection, at any instance.
type Presence interface {
	Online(ctx context.Context, id ident.PeerID) (bool, error)
}

// Credentials gives out what peers need to use the relay.
type Credentials interface {
	Credentials(ctx context.Context, id ident.PeerID) (api.RelayCredentials, error)
}

// PathPages is where the administrators' pages are.
const PathPages = "/admin"

// Check is one condition of being ready.
type Check struct {
	Name  string // for people, as "database"
	Check func(ctx context.Context) error
}

// Config is what the interface needs.
type Config struct {
	Registry *registry.Registry
	Presence Presence
	Relay    Credentials // nil without a relay
	Server   api.Server  // what GET /v1/server answers
	// TrustedProxies are the networks whose X-Forwarded-For is believed. From
	// anywhere else, and without any, the client is who made the connection.
	TrustedProxies []netip.Prefix
	Origin         ident.Origin // at which peers reach those proxies
	Signal         Signalling   // at api.PathSignal; nil: nothing is there
	PerSource      int          // connections there of one source; 0: 1024
	Limits         Limits
	Ready          []Check // beside the registry's store
	// Pages are served at / alone, and at PathPages and below; nil without any.
	Pages  func(Attempts) (http.Handler, error)
	Now    func() time.Time
	Logger *slog.Logger
	// Observer is told of requests, nil without one.
	Observer Observer
}

// Observer is told of requests.
type Observer interface {
	// Requests is told 1 as a request begins and -1 as it ends.
	Requests(change int)
	// Request is told of one that has been answered. route is the pattern that
	// it matched, "" without one.
	Request(method, route string, status int, took time.Duration)
}

// server is the state behind the handlers.
type server struct {
	cfg    Config // static after New
	limits map[limited]*limiter[netip.Prefix]
	peers  *limiter[ident.PeerID]
	api    huma.API

	signals counter
}

// New makes the handler of the whole interface.
func New(cfg Config) (http.Handler, error) {
	switch {
	case cfg.Registry == nil:
		return nil, errors.New("REST interface: no registry")
	case cfg.Presence == nil:
		return nil, errors.New("REST interface: no presence")
	case len(cfg.TrustedProxies) > 0 && cfg.Origin == "":
		return nil, errors.New("REST interface: reverse proxies, but no origin at which peers reach them")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Server.STUN) > api.MaxServers || len(cfg.Server.TURN) > api.MaxServers {
		return nil, errors.New("REST interface: more than 16 STUN or TURN addresses")
	}
	if cfg.PerSource == 0 {
		cfg.PerSource = 1024
	}
	describeErrors()
	s := &server{cfg: cfg, limits: newLimiters(cfg.Limits), peers: newPeerLimiter(cfg.Limits)}

	router := chi.NewRouter()
	if cfg.Observer != nil {
		router.Use(s.observed)
	}
	router.Use(s.recovered, s.clientIP(), withSource, headers, middleware.GetHead)
	router.NotFound(noRoute)
	router.MethodNotAllowed(otherMethod)
	s.api = humachi.New(router, description(cfg.Server.Version))
	s.register()
	documents, err := newDocuments(s.api.OpenAPI())
	if err != nil {
		return nil, err
	}
	router.Get(api.PathOpenAPI, documents.openAPI)
	router.Get(api.PathDocs, documents.page)
	router.Get(api.PathLive, live)
	router.Get(api.PathReady, s.ready)
	if cfg.Pages != nil {
		pages, err := cfg.Pages(Attempts{s})
		if err != nil {
			return nil, err
		}
		router.Handle("/", pages)
		router.Handle(PathPages, pages)
		router.Handle(PathPages+"/*", pages)
	}
	if cfg.Signal != nil {
		s.signals = counter{max: cfg.PerSource, has: map[netip.Prefix]int{}}
		router.Get(api.PathSignal, s.signal)
	}
	return router, nil
}

// observed tells the observer of each request.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		watched := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		s.cfg.Observer.Requests(1)
		defer func() {
			s.cfg.Observer.Requests(-1)
			route := chi.RouteContext(r.Context()).RoutePattern()
			status := watched.Status()
			if status == 0 {
				status = http.StatusOK // of an answer without a body
			}
			if status == http.StatusNotFound || status == http.StatusMethodNotAllowed {
				if !takes(r, r.Method) {
					route = ""
				}
			}
			s.cfg.Observer.Request(r.Method, route, status, time.Since(began))
		}()
		next.ServeHTTP(watched, r)
	})
}

// clientIP finds out who asks. chi's RealIP believes anyone; these two do not.
func (s *server) clientIP() func(http.Handler) http.Handler {
	if len(s.cfg.TrustedProxies) == 0 {
		return middleware.ClientIPFromRemoteAddr
	}
	var prefixes []string
	for _, p := range s.cfg.TrustedProxies {
		prefixes = append(prefixes, p.String())
	}
	return middleware.ClientIPFromXFF(prefixes...)
}

// headers sets what every answer carries.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// recovered answers 500 where a handler panics, and logs it.
func (s *server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.cfg.Logger.Error("a request made the server panic", "method", r.Method, "panic", v)
				write(w, api.NewProblem(api.CodeInternal))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func noRoute(w http.ResponseWriter, _ *http.Request) { write(w, api.NewProblem(api.CodeNoRoute)) }

// methods is every method that any address takes.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// otherMethod answers a request whose address does not take its method, and says
// which ones it takes (RFC 9110 section 15.5.6).
func otherMethod(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range methods {
		if takes(r, m) {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		noRoute(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	write(w, api.NewProblem(api.CodeMethod))
}

// takes reports whether a request's address takes a method. HEAD is answered as
// GET is.
func takes(r *http.Request, method string) bool {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	return chi.RouteContext(r.Context()).Routes.Match(chi.NewRouteContext(), method, path)
}

func live(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok\n")
}

// readyTime bounds the checks of one request to /readyz.
const readyTime = 3 * time.Second

// ready says whether the server can do its work, and which part cannot; why is
// for the log only.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	status, text := http.StatusOK, ""
	detail := readiness{Checks: map[string]string{}}
	later := strconv.Itoa(int(jittered(waits[api.CodeUnavailable]).Seconds()))
	for _, c := range append([]Check{{Name: "database", Check: s.cfg.Registry.Ready}}, s.cfg.Ready...) {
		if err := c.Check(ctx); err != nil {
			s.cfg.Logger.Warn("not ready", "check", c.Name, "err", err)
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", later)
			text += c.Name + ": failed\n"
			detail.Checks[c.Name] = "failed"
			continue
		}
		text += c.Name + ": ok\n"
		detail.Checks[c.Name] = "ok"
	}
	if !strings.Contains(r.Header.Get("Accept"), "application/json") {
		writeText(w, status, text)
		return
	}
	detail.Ready = status == http.StatusOK
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(detail) // who asked has gone: nothing to do
}

// readiness is what /readyz says to who accepts JSON.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"` // by name: ok or failed
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // who asked has gone: nothing to do
}
