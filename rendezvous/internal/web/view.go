package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// view is what a template gets.
type view struct {
	ctx   context.Context
	page  page
	query url.Values
	path  func(name string) string // a part of the address

	Title   string
	Nav     string
	Server  api.Server
	Session registry.AdminToken
	Notice  string        // what was done
	Problem string        // what was not, and why
	Invited *madeInvite   // shown this once
	Token   *madeToken    // shown this once
	Form    url.Values    // what was typed, where it was refused
	Key     string        // makes sending the form again harmless
	Live    bool          // it is rendered for the stream of events
	Main    template.HTML // the page's contents, rendered
	Data    any
}

// view begins a page for a request.
func (p *Pages) view(r *http.Request, one page) *view {
	return &view{
		ctx: r.Context(), page: one, query: r.URL.Query(), path: r.PathValue,
		Title: one.title, Nav: one.nav, Server: p.cfg.Server, Session: sessionOf(r.Context()), Form: url.Values{},
	}
}

// main renders a page's contents.
func (p *Pages) main(v *view) (template.HTML, error) {
	if err := v.page.load(v); err != nil {
		return "", err
	}
	if !v.Live {
		v.Key = rand.Text()
	}
	html, err := p.templates.render(v.page.name, v)
	return template.HTML(html), err // rendered by html/template
}

// May reports whether the session covers a scope.
func (v *view) May(scope api.Scope) bool { return v.Session.Scopes.Covers(scope) }

// Typed is what was typed into a field of a form that was refused.
func (v *view) Typed(field string) string { return v.Form.Get(field) }

// Asked is a parameter of the page's address.
func (v *view) Asked(name string) string { return v.query.Get(name) }

// number reads a number of the page's address, at least 1.
func (v *view) number(name string) int {
	n, err := strconv.Atoi(v.query.Get(name))
	if err != nil {
		return 1
	}
	return max(n, 1)
}

// notices are what is said after something was done, by the parameter "did".
var notices = map[string]string{
	"signed-out":      "You are signed out.",
	"renamed":         "The peer has its new name.",
	"revoked":         "The peer is revoked: its connections end within seconds, and it may not register again.",
	"readmitted":      "The peer may register again, as a new one.",
	"approved":        "The peer may register within a week, without an invite.",
	"disapproved":     "The approval is taken back.",
	"invite-revoked":  "The invite is good no more. Who joined with it stays.",
	"token-revoked":   "The token is good no more, and neither are the sessions it has opened.",
	"session-revoked": "That browser is signed out.",
}

//go:embed templates/*.html
var templateFiles embed.FS

// templates renders them.
type templates struct{ all *template.Template }

func parseTemplates(now func() time.Time) (templates, error) {
	all, err := template.New("").Funcs(functions(now)).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return templates{}, fmt.Errorf("templates of the administrators' page: %w", err)
	}
	return templates{all}, nil
}

func (t templates) render(name string, v *view) ([]byte, error) {
	var b bytes.Buffer
	err := t.all.ExecuteTemplate(&b, name, v)
	return b.Bytes(), err
}

func functions(now func() time.Time) template.FuncMap {
	return template.FuncMap{
		"asset":  func(name string) string { return assets[name].address },
		"time":   func(t time.Time) template.HTML { return moment(t, "") },
		"until":  func(t time.Time) template.HTML { return moment(t, ` data-form="full"`) },
		"past":   func(t time.Time) bool { return !now().Before(t) },
		"many":   many,
		"number": func(n any) string { return grouped(whole(n)) },
		"bytes":  func(n any) string { return sized(whole(n)) },
		"pack":   pack,
		"rate":   rate,
		"words":  inWords,
	}
}

// moment is a time for people; the module writes it in the browser's words: how
// long ago, or in the form that an attribute names.
func moment(t time.Time, form string) template.HTML {
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `"` + form + `>` + t.Format("2 Jan 2006, 15:04") + ` UTC</time>`) // no text of others
}

// many is a number and the word for what is counted.
func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(int64(n)) + " " + more
}

// whole is a number of any integer type.
func whole(n any) int64 {
	if v := reflect.ValueOf(n); v.CanInt() {
		return v.Int()
	} else if v.CanUint() {
		return int64(v.Uint())
	}
	return 0
}

// grouped is a number with thin spaces between its thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// sized is a number of bytes in the largest unit that keeps it above 1.
func sized(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB", "PB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, u
	}
	if unit == "B" || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, unit)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// rate is bytes of a minute as bits a second.
func rate(bytes int64) string {
	return strings.Replace(sized(bytes*8/60), "B", "bit/s", 1)
}

// pack hands several values to a template, by name.
func pack(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m
}
