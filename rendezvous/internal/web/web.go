// Package web serves the administrators' pages. They offer to people what the REST
// interface offers to programs, and use the same registry. The pages work without
// scripts; a small script keeps an open page up to date.
//
// # Security
//
// A browser signs in with the one-time link or with an administrator's token. The
// server then opens a sign-in: the browser's cookie holds its secret, and the
// registry holds a digest of the secret. A GET request changes nothing. Changes are
// made by POST requests of forms; the server refuses such a request unless the
// browser states that it comes from the same origin. The content security policy of
// every answer lets a page load only the files of this package, and lets no other
// page frame it.
//
// # Live updates
//
// The URL of every page also serves a stream of events (text/event-stream). When
// the contents of the page change, the stream sends all of them, and the script
// changes only those parts of the document that differ.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// Path is the URL path of the pages.
const Path = "/admin"

// Attempts limits how often a source may fail to sign in. The source is that of the
// request that ctx belongs to.
type Attempts interface {
	// Wait returns the time until the source may try again, 0 if it may try now.
	Wait(ctx context.Context) time.Duration
	// Failed counts a failed attempt.
	Failed(ctx context.Context)
}

// Config configures the pages.
type Config struct {
	Resources Resources
	Attempts  Attempts
	Server    api.Server // the answer to GET /v1/server
	// Origin is the public origin, such as https://host:port. Forms may also come
	// from the origin that the Host header of the request names.
	Origin string
	// JoinLink returns the link by which agents join with an invite, or without an
	// invite if code is "".
	JoinLink func(code string) string
	Logger   *slog.Logger
	Now      func() time.Time
	// Interval is the time between two checks of an open page for changes; 0 means 2
	// seconds.
	Interval time.Duration
}

// Pages serves the administrators' pages and the page to which a join link leads.
// It is a handler for / and for Path with everything below it.
type Pages struct {
	origins  origins
	renderer *renderer
	mux      *http.ServeMux
}

// New returns the pages.
func New(cfg Config) (*Pages, error) {
	if missing := cfg.Resources.missing(); missing != "" {
		return nil, errors.New("administrators' pages: no " + missing)
	}
	if cfg.Attempts == nil || cfg.JoinLink == nil {
		return nil, errors.New("administrators' pages: no limit on attempts, or no function that makes join links")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Interval <= 0 {
		cfg.Interval = 2 * time.Second
	}
	templates, err := parseTemplates(cfg.Now)
	if err != nil {
		return nil, err
	}
	p := &Pages{
		origins:  newOrigins(cfg.Origin),
		renderer: &renderer{templates: templates, server: cfg.Server, logger: cfg.Logger},
		mux:      http.NewServeMux(),
	}
	p.routes(cfg)
	return p, nil
}

// routes adds the handler of each URL path.
func (p *Pages) routes(cfg Config) {
	s := &signIns{store: cfg.Resources.SignIns, attempts: cfg.Attempts, renderer: p.renderer}
	live := &streams{
		renderer: p.renderer, signIns: s, slots: make(chan struct{}, maxStreams), interval: cfg.Interval,
	}
	p.mux.HandleFunc("GET "+Path+"/static/{name}", serveStatic)
	p.mux.HandleFunc("GET /{$}", p.home)
	p.mux.HandleFunc("GET "+Path+"/sign-in", s.form)
	p.mux.HandleFunc("POST "+Path+"/sign-in", s.signIn)
	p.mux.HandleFunc("GET "+Path+"/session", s.state)
	p.mux.Handle("POST "+Path+"/sign-out", s.require("", s.signOut))
	for _, one := range allPages(cfg) {
		p.mux.Handle("GET "+Path+one.path, s.require(one.scope, p.get(one, live)))
		if one.post != nil {
			p.mux.Handle("POST "+Path+one.path, s.require(one.scope, p.post(one)))
		}
	}
	p.mux.Handle(Path, s.require("", p.notFound))
	p.mux.Handle(Path+"/", s.require("", p.notFound))
}

// allPages returns every page that requires a sign-in.
func allPages(cfg Config) []page {
	r := cfg.Resources
	join := joinLinks(cfg.JoinLink)
	relay := relayCharts{history: r.History, now: cfg.Now}
	var all []page
	for _, some := range [][]page{
		(&overviewPages{
			membership: r.Membership, instances: r.Instances, pairs: r.Pairs, history: r.History,
			join: join, now: cfg.Now,
		}).pages(),
		(&peerPages{
			peers: r.Peers, revocations: r.Revocations, membership: r.Membership,
			pairs: r.Pairs, audit: r.Audit, relay: relay, join: join,
		}).pages(),
		(&revocationPages{r.Revocations}).pages(),
		(&pairPages{r.Pairs}).pages(),
		(&relayPages{history: r.History, charts: relay}).pages(),
		(&invitePages{invites: r.Invites, membership: r.Membership, join: join, now: cfg.Now}).pages(),
		(&approvalPages{approvals: r.Approvals, requests: r.JoinRequests, membership: r.Membership}).pages(),
		(&instancePages{r.Instances}).pages(),
		(&auditPages{r.Audit}).pages(),
		(&tokenPages{tokens: r.Tokens, signIns: r.SignIns, now: cfg.Now}).pages(),
	} {
		all = append(all, some...)
	}
	return all
}

// ServeHTTP serves the pages.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range fixedHeaders {
		w.Header().Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if !p.origins.sent(r) {
			p.renderer.refuse(w, http.StatusForbidden,
				"This request did not come from the administrators' pages, so nothing was changed. If you sent it "+
					"from there, a proxy may have changed the Host header: open the pages at their public address.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, api.MaxBody)
		if err := r.ParseForm(); err != nil {
			p.renderer.refuse(w, http.StatusBadRequest,
				"The form is longer than 16 KiB or did not arrive completely. Send it again.")
			return
		}
	}
	p.mux.ServeHTTP(w, r)
}

// fixedHeaders are the headers of every answer. The referrer policy is same-origin:
// with no-referrer, browsers would not state the origin of a form (Fetch standard,
// "append a request Origin header").
var fixedHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"Cache-Control":                "no-store",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), usb=()",
	"Referrer-Policy":              "same-origin",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

// get returns the handler that shows a page, or streams it.
func (p *Pages) get(one page, live *streams) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "text/event-stream" {
			live.serve(w, r, one)
			return
		}
		v := p.renderer.view(r, one)
		v.Notice = notices[r.URL.Query().Get("did")]
		p.renderer.show(w, v, http.StatusOK)
	}
}

// post returns the handler that carries out the form of a page.
func (p *Pages) post(one page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := p.renderer.view(r, one)
		v.Form = r.PostForm
		to, err := one.post(v)
		switch {
		case err != nil:
			var status int
			v.Problem, status = p.renderer.describe(r.Context(), err)
			p.renderer.show(w, v, status)
		case to == "":
			p.renderer.show(w, v, http.StatusOK)
		default:
			http.Redirect(w, r, Path+to, http.StatusSeeOther)
		}
	}
}

// home serves /. A join link leads here; the server does not receive the part of
// the link after the #.
func (p *Pages) home(w http.ResponseWriter, r *http.Request) {
	p.renderer.write(w, "home", p.renderer.view(r, page{title: "EasyFind rendezvous"}), http.StatusOK)
}

// notFound answers for URL paths without a page.
func (p *Pages) notFound(w http.ResponseWriter, r *http.Request) {
	v := p.renderer.view(r, page{title: "Page not found"})
	v.Problem = "There is no page at this address."
	p.renderer.write(w, "page", v, http.StatusNotFound)
}

// origins decides which requests come from a page of this server.
type origins struct {
	public     string
	protection *http.CrossOriginProtection
}

func newOrigins(public string) origins {
	public = strings.TrimSuffix(public, ":443") // browsers omit the default port
	o := origins{public: public, protection: http.NewCrossOriginProtection()}
	// An origin that is not valid is not trusted; no browser sends it.
	_ = o.protection.AddTrustedOrigin(public)
	return o
}

// sent reports whether a page of this server sent a request that changes something.
//
// [http.CrossOriginProtection] rejects the requests that browsers mark as coming
// from elsewhere. It is made for servers that programs use too, and lets a request
// pass that has neither Sec-Fetch-Site nor Origin, that a person started
// (Sec-Fetch-Site: none), or that comes from another scheme of the same host. Only
// forms in browsers send requests here, and browsers state the origin of every
// POST. So exactly one Origin is required, it must be an HTTPS origin of this
// server, and Sec-Fetch-Site must not contradict it.
func (o origins) sent(r *http.Request) bool {
	if o.protection.Check(r) != nil {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := r.Header.Values("Origin")
	return len(origin) == 1 && (origin[0] == o.public || origin[0] == "https://"+r.Host)
}
