package web

import (
	"context"
	"crypto/rand"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// page describes one page.
type page struct {
	path  string // below Path, as a pattern of http.ServeMux
	name  string // the name of its template
	title string
	nav   string    // the navigation entry that it belongs to
	scope api.Scope // required; "" for every administrator
	// load reads the data that the template shows.
	load func(v *view) error
	// post carries out a form of the page and returns the URL path below Path to go
	// to. If it returns "", the page is shown again with what post set in the view.
	post func(v *view) (to string, err error)
}

// renderer renders pages and sends them.
type renderer struct {
	templates templates
	server    api.Server
	logger    *slog.Logger
}

// view returns the view of a page for a request.
func (r *renderer) view(req *http.Request, one page) *view {
	return &view{
		ctx: req.Context(), page: one, query: req.URL.Query(), path: req.PathValue,
		Title: one.title, Nav: one.nav, Server: r.server, SignIn: signInOf(req.Context()), Form: url.Values{},
	}
}

// main renders the contents of a page.
func (r *renderer) main(v *view) (template.HTML, error) {
	if err := v.page.load(v); err != nil {
		return "", err
	}
	if !v.Live {
		v.Key = rand.Text()
	}
	html, err := r.templates.render(v.page.name, v)
	return template.HTML(html), err // html/template has escaped it
}

// show renders a page and sends it.
func (r *renderer) show(w http.ResponseWriter, v *view, status int) {
	main, err := r.main(v)
	if err != nil {
		v.Problem, status = r.describe(v.ctx, err)
		main = ""
	}
	v.Main = main
	r.write(w, "page", v, status)
}

// refuse sends a page with the reason why a request was refused.
func (r *renderer) refuse(w http.ResponseWriter, status int, reason string) {
	r.write(w, "refused", &view{Title: http.StatusText(status), Server: r.server, Problem: reason}, status)
}

// write renders a whole document and sends it.
func (r *renderer) write(w http.ResponseWriter, name string, v *view, status int) {
	html, err := r.templates.render(name, v)
	if err != nil {
		r.logger.Error("cannot render page", "name", name, "err", err)
		http.Error(w, "The server could not render this page. Its log has the reason.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(html) // fails only if the client is gone
}

// describe returns a text for people that describes an error and what to do, and
// the HTTP status of the error.
func (r *renderer) describe(ctx context.Context, err error) (text string, status int) {
	var form formError
	if errors.As(err, &form) {
		return string(form), http.StatusUnprocessableEntity
	}
	for _, own := range []error{peers.ErrName, peers.ErrInviteSpec, administration.ErrTokenSpec} {
		if errors.Is(err, own) {
			return sentence(own.Error()), http.StatusUnprocessableEntity
		}
	}
	code, ok := registry.CodeOf(err)
	if !ok || code == api.CodeUnavailable {
		if ctx.Err() == nil {
			r.logger.Error("cannot serve page", "err", err)
		}
	}
	if !ok {
		code = api.CodeInternal
	}
	t := api.TypeOf(code)
	return sentence(t.Means + ": " + t.Remedy), t.Status
}

// formError describes a fault in a form to the person who filled it in.
type formError string

// Error returns the description.
func (e formError) Error() string { return string(e) }

// with adds query parameters to a URL path.
func with(path string, parameters ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	return path + "?" + q.Encode()
}
