// Package web is the administrators' page: what the REST interface offers them,
// for people. It is rendered here, from the same registry, and works without a
// script; one small module keeps it up to date where scripts run.
//
// # How it is kept safe
//
// A browser signs in with the one-time link or an administrator's token and has
// a session from then on, of which its cookie holds the secret and the registry
// the digest. GET changes nothing. What changes something is a form's POST, and
// is refused unless the browser says that it comes from this very origin. The
// policy of every answer lets it load and run nothing but the files of this
// package, and be framed by nobody.
//
// # How it stays up to date
//
// The address of every page also gives a stream of events (text/event-stream):
// whenever the page's contents have changed they come whole, and the module
// changes in the document what differs and nothing else.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Path is where the page is.
const Path = "/admin"

// Attempts bounds how often a source may fail to sign in. The source is that of
// the request whose context it is.
type Attempts interface {
	Wait(ctx context.Context) time.Duration // until it may try again; 0 is at once
	Failed(ctx context.Context)
}

// Config is what the page needs.
type Config struct {
	Registry *registry.Registry
	Attempts Attempts
	Server   api.Server // what GET /v1/server answers
	// Origin is the public one, as https://host:port; that of the request's
	// Host header is fine too.
	Origin string
	// JoinLink makes the link by which agents join with an invite, or without
	// one where code is "".
	JoinLink func(code string) string
	Logger   *slog.Logger
	Now      func() time.Time
	Every    time.Duration // between two looks for changes of a page that is open; 0 is 2 s
}

// Pages is the administrators' pages, and the one that a join link leads to. It is
// an http.Handler for everything at and below Path, and for /.
type Pages struct {
	cfg       Config // static after New
	mux       *http.ServeMux
	templates templates
	watching  chan struct{} // a place for each stream of events
}

// maxWatching bounds the streams of events of this instance.
const maxWatching = 128

// New makes the pages.
func New(cfg Config) (*Pages, error) {
	if cfg.Registry == nil || cfg.Attempts == nil || cfg.JoinLink == nil {
		return nil, errors.New("administrators' page: a registry, a bound of attempts and a maker of join links are needed")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Every <= 0 {
		cfg.Every = 2 * time.Second
	}
	cfg.Origin = strings.TrimSuffix(cfg.Origin, ":443") // browsers leave the port of the scheme out
	p := &Pages{cfg: cfg, mux: http.NewServeMux(), watching: make(chan struct{}, maxWatching)}
	var err error
	if p.templates, err = parseTemplates(cfg.Now); err != nil {
		return nil, err
	}
	p.routes()
	return p, nil
}

// routes says what is where.
func (p *Pages) routes() {
	p.mux.HandleFunc("GET "+Path+"/static/{name}", p.static)
	p.mux.HandleFunc("GET /{$}", p.home)
	p.mux.HandleFunc("GET "+Path+"/sign-in", p.signInPage)
	p.mux.HandleFunc("POST "+Path+"/sign-in", p.signIn)
	p.mux.HandleFunc("GET "+Path+"/session", p.sessionState)
	for _, one := range p.all() {
		address := Path + one.path
		p.mux.Handle("GET "+address, p.signedIn(one.scope, p.get(one)))
		if one.post != nil {
			p.mux.Handle("POST "+address, p.signedIn(one.scope, p.post(one)))
		}
	}
	p.mux.Handle("POST "+Path+"/sign-out", p.signedIn("", p.signOut))
	p.mux.Handle(Path, p.signedIn("", p.nothingHere))
	p.mux.Handle(Path+"/", p.signedIn("", p.nothingHere))
}

// ServeHTTP serves the pages.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range fixedHeaders {
		w.Header().Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if !p.sameOrigin(r) {
			p.refuse(w, r, http.StatusForbidden, "This request did not come from the administrators' page itself, so nothing was done. "+
				"If it did, a proxy in between may have changed the Host header: open the page at its public address.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, api.MaxBody)
		if err := r.ParseForm(); err != nil {
			p.refuse(w, r, http.StatusBadRequest, "The form did not arrive as it should: it is longer than 16 KiB or was cut. Send it again.")
			return
		}
	}
	p.mux.ServeHTTP(w, r)
}

// fixedHeaders stand on every answer. With no-referrer in place of same-origin,
// browsers would not say where a form comes from (Fetch standard, "append a
// request Origin header").
var fixedHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"Cache-Control":                "no-store",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), usb=()",
	"Referrer-Policy":              "same-origin",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

// sameOrigin reports whether a browser says that a request comes from a page of
// this server. Every browser of the last years says so with each POST; what
// says nothing is refused.
func (p *Pages) sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := r.Header.Values("Origin")
	return len(origin) == 1 && (origin[0] == p.cfg.Origin || origin[0] == "https://"+r.Host)
}

// page is one of the pages.
type page struct {
	path  string // below Path, as a pattern of http.ServeMux
	name  string // of its template
	title string
	nav   string // which entry of the navigation it belongs to
	scope api.Scope
	// load reads what the template shows.
	load func(v *view) error
	// post does what a form of the page asks for and returns where to go then;
	// "" is nowhere: the page is shown again with what post set in the view.
	post func(v *view) (to string, err error)
}

// get shows a page, or streams it.
func (p *Pages) get(one page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "text/event-stream" {
			p.watch(w, r, one)
			return
		}
		v := p.view(r, one)
		v.Notice = notices[r.URL.Query().Get("did")]
		p.show(w, v, http.StatusOK)
	}
}

// post does what a form asks for.
func (p *Pages) post(one page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := p.view(r, one)
		v.Form = r.PostForm
		to, err := one.post(v)
		switch {
		case err != nil:
			var status int
			v.Problem, status = p.words(r.Context(), err)
			p.show(w, v, status)
		case to == "":
			p.show(w, v, http.StatusOK)
		default:
			http.Redirect(w, r, Path+to, http.StatusSeeOther)
		}
	}
}

// show renders a page.
func (p *Pages) show(w http.ResponseWriter, v *view, status int) {
	main, err := p.main(v)
	if err != nil {
		v.Problem, status = p.words(v.ctx, err)
		main = ""
	}
	v.Main = main
	p.write(w, "page", v, status)
}

// refuse shows a page that says why nothing was done.
func (p *Pages) refuse(w http.ResponseWriter, _ *http.Request, status int, why string) {
	p.write(w, "refused", &view{Title: http.StatusText(status), Server: p.cfg.Server, Problem: why}, status)
}

// write renders a whole document and sends it.
func (p *Pages) write(w http.ResponseWriter, name string, v *view, status int) {
	html, err := p.templates.render(name, v)
	if err != nil {
		p.cfg.Logger.Error("a page could not be rendered", "page", name, "err", err)
		http.Error(w, "The server failed to render this page. Its log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(html) // who asked has gone: nothing to do
}

// badForm is what is wrong with a form, in words for who has filled it in.
type badForm string

// Error is those words.
func (b badForm) Error() string { return string(b) }

// words says what is wrong and what to do, and the HTTP status for it.
func (p *Pages) words(ctx context.Context, err error) (text string, status int) {
	var bad badForm
	if errors.As(err, &bad) {
		return string(bad), http.StatusUnprocessableEntity
	}
	for _, own := range []error{registry.ErrName, registry.ErrInviteSpec, registry.ErrTokenSpec} {
		if errors.Is(err, own) {
			return sentence(own.Error()), http.StatusUnprocessableEntity
		}
	}
	code, ok := registry.CodeOf(err)
	if !ok || code == api.CodeUnavailable {
		if ctx.Err() == nil {
			p.cfg.Logger.Error("a page could not be served", "err", err)
		}
	}
	if !ok {
		code = api.CodeInternal
	}
	k := api.KindOf(code)
	return sentence(k.Means + ": " + k.Do), k.Status
}

// home answers who opens the server itself in a browser, a join link say, of
// which the server does not see what is behind the #.
func (p *Pages) home(w http.ResponseWriter, r *http.Request) {
	p.write(w, "home", p.view(r, page{title: "EasyFind rendezvous"}), http.StatusOK)
}

// nothingHere answers what no page is at.
func (p *Pages) nothingHere(w http.ResponseWriter, r *http.Request) {
	v := p.view(r, page{title: "Nothing here"})
	v.Problem = "There is no page at this address."
	p.write(w, "page", v, http.StatusNotFound)
}

// with adds parameters to an address below Path.
func with(path string, parameters ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	return path + "?" + q.Encode()
}
