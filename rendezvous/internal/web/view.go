package web

import (
	"bytes"
	"context"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// view is the data that a template renders.
type view struct {
	ctx   context.Context
	page  page
	query url.Values
	path  func(name string) string // returns a wildcard of the URL path

	Title     string
	Nav       string
	Server    api.Server
	SignIn    administration.Token
	Notice    string        // a change that was made
	Problem   string        // the reason why a change was not made
	NewInvite *newInvite    // shown this once
	NewToken  *newToken     // shown this once
	Form      url.Values    // the fields of a form that was refused
	Key       string        // makes it harmless to send a form twice
	Live      bool          // the page is rendered for an event stream
	Main      template.HTML // the rendered contents of the page
	Data      any           // what the page's load function has read
}

// May reports whether the sign-in covers a scope.
func (v *view) May(scope api.Scope) bool { return v.SignIn.Scopes.Covers(scope) }

// FormValue returns a field of the form that was sent.
func (v *view) FormValue(field string) string { return v.Form.Get(field) }

// Query returns a query parameter of the URL.
func (v *view) Query(name string) string { return v.query.Get(name) }

// pageNumber returns the query parameter page, at least 1.
func (v *view) pageNumber() int {
	n, err := strconv.Atoi(v.query.Get("page"))
	if err != nil {
		return 1
	}
	return max(n, 1)
}

// idempotencyKey returns the key that makes a form which is sent twice take effect
// once, or "".
func (v *view) idempotencyKey() string {
	key := v.FormValue("key")
	if key == "" || len(key) > api.MaxIdempotency {
		return ""
	}
	return "page " + key
}

// shortID parses the invite or the token in the URL path.
func (v *view) shortID() (id [8]byte, ok bool) {
	raw, err := hex.DecodeString(v.path("id"))
	if err != nil || len(raw) != len(id) {
		return id, false
	}
	return [8]byte(raw), true
}

// peerID parses the peer in the URL path.
func (v *view) peerID() (ident.PeerID, error) {
	id, err := ident.ParsePeerID(v.path("id"))
	if err != nil {
		return id, peers.ErrNotFound
	}
	return id, nil
}

// version returns the version of the peer that the person saw who filled in the
// form; 0 stands for any version.
func (v *view) version() int64 {
	n, err := strconv.ParseInt(v.FormValue("version"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// notices are the messages after a change, by the query parameter "did".
var notices = map[string]string{
	"signed-out":     "You are signed out.",
	"renamed":        "The peer has its new name.",
	"revoked":        "The peer is revoked: its connections end within seconds, and it cannot register again.",
	"readmitted":     "The peer may register again, as a new peer.",
	"approved":       "The peer may register within a week, without an invite.",
	"disapproved":    "The approval is withdrawn.",
	"invite-revoked": "The invite is revoked. Machines that joined with it stay registered.",
	"token-revoked":  "The token is revoked. Browsers that signed in with it are signed out.",
	"sign-in-ended":  "That browser is signed out.",
}

//go:embed templates/*.html
var templateFiles embed.FS

// templates holds the parsed templates.
type templates struct{ all *template.Template }

func parseTemplates(now func() time.Time) (templates, error) {
	all, err := template.New("").Funcs(functions(now)).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return templates{}, fmt.Errorf("templates of the administrators' pages: %w", err)
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
		"words":  describeEvent,
	}
}

// moment renders a time. The script replaces the text in the language of the
// browser, by default with the time that has passed; attributes may choose another
// form.
func moment(t time.Time, attributes string) template.HTML {
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `"` + attributes + `>` + // needs no escaping
		t.Format("2 Jan 2006, 15:04") + ` UTC</time>`)
}

// many returns a number with a noun in the singular or the plural.
func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(int64(n)) + " " + more
}

// whole converts an integer of any type.
func whole(n any) int64 {
	if v := reflect.ValueOf(n); v.CanInt() {
		return v.Int()
	} else if v.CanUint() {
		return int64(v.Uint())
	}
	return 0
}

// grouped formats a number with thin spaces between groups of three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// sized formats a number of bytes in the largest unit in which it is at least 1.
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

// rate formats the bytes of one minute as bits per second.
func rate(bytes int64) string {
	return strings.Replace(sized(bytes*8/60), "B", "bit/s", 1)
}

// pack makes a map of names and values, so that a template can pass several values
// to another one.
func pack(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m
}
