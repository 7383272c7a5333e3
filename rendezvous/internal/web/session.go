package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// cookieName has the prefix by which browsers see to it that the cookie is
// secure and of this host alone (RFC 6265bis section 4.1.3.2).
const cookieName = "__Host-easyfind-admin"

type sessionKey struct{}

// sessionOf is the session under which a request is made.
func sessionOf(ctx context.Context) registry.AdminToken {
	t, _ := ctx.Value(sessionKey{}).(registry.AdminToken)
	return t
}

// session returns the session of a request's cookie. Errors:
// registry.ErrUnauthenticated.
func (p *Pages) session(r *http.Request) (registry.AdminToken, error) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return registry.AdminToken{}, registry.ErrUnauthenticated
	}
	return p.cfg.Registry.Session(r.Context(), c.Value)
}

// signedIn lets who is signed in pass, if the session covers a scope.
func (p *Pages) signedIn(scope api.Scope, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := p.session(r)
		switch {
		case errors.Is(err, registry.ErrUnauthenticated):
			p.askToSignIn(w, r)
			return
		case err != nil:
			text, status := p.words(r.Context(), err)
			p.refuse(w, r, status, text)
			return
		}
		o := registry.Origin{Actor: session.Actor(), Source: registry.OriginOf(r.Context()).Source}
		ctx := registry.WithOrigin(context.WithValue(r.Context(), sessionKey{}, session), o)
		if !session.Scopes.Covers(scope) {
			v := p.view(r.WithContext(ctx), page{title: "Not covered"})
			v.Problem = fmt.Sprintf("Your session does not cover this page: it needs the scope %q. Ask an administrator with the scope \"admin\" for a token that has it.", scope)
			p.write(w, "page", v, http.StatusForbidden)
			return
		}
		next(w, r.WithContext(ctx))
	})
}

// askToSignIn sends a browser without a session to where it gets one, and tells
// a stream of events that its page has to.
func (p *Pages) askToSignIn(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Accept") == "text/event-stream":
		p.gone(w)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		p.refuse(w, r, http.StatusUnauthorized, "You are not signed in any more, so nothing was done. Sign in and do it again.")
	default:
		to := Path + "/sign-in"
		if r.URL.Path != Path {
			to += "?to=" + url.QueryEscape(strings.TrimPrefix(r.URL.RequestURI(), Path))
		}
		http.Redirect(w, r, to, http.StatusSeeOther) // browsers keep the fragment
	}
}

// signInPage asks for the link or a token.
func (p *Pages) signInPage(w http.ResponseWriter, r *http.Request) {
	if _, err := p.session(r); err == nil {
		http.Redirect(w, r, Path+destination(r.URL.Query().Get("to")), http.StatusSeeOther)
		return
	}
	v := p.view(r, page{title: "Sign in"})
	v.Data = destination(r.URL.Query().Get("to"))
	v.Notice = notices[r.URL.Query().Get("did")]
	p.write(w, "sign-in", v, http.StatusOK)
}

// sessionState says whether the cookie that came along is good. A browser that
// follows a link of another site does not send it at first (SameSite=Strict):
// the sign-in page asks for it, and goes on if it is.
func (p *Pages) sessionState(w http.ResponseWriter, r *http.Request) {
	_, err := p.session(r)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"signed_in":%t}`+"\n", err == nil)
}

// signIn opens a session.
func (p *Pages) signIn(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v := p.view(r, page{title: "Sign in"})
	v.Data = destination(r.PostForm.Get("to"))
	if wait := p.cfg.Attempts.Wait(ctx); wait > 0 {
		v.Problem = fmt.Sprintf("Too many attempts from your address failed. Wait %s and try again.", waiting(wait))
		w.Header().Set("Retry-After", fmt.Sprint(int(wait/time.Second)+1))
		p.write(w, "sign-in", v, http.StatusTooManyRequests)
		return
	}
	secret, session, err := p.open(r)
	if err != nil {
		if !errors.Is(err, registry.ErrUnavailable) {
			p.cfg.Attempts.Failed(ctx)
		}
		var status int
		v.Problem, status = p.whyNot(ctx, err)
		p.write(w, "sign-in", v, status)
		return
	}
	http.SetCookie(w, cookie(secret, session.Expires))
	http.Redirect(w, r, Path+destination(r.PostForm.Get("to")), http.StatusSeeOther)
}

// open reads what was typed, or was in the link: the whole link, its code, or a
// token.
func (p *Pages) open(r *http.Request) (secret string, session registry.AdminToken, err error) {
	typed := strings.TrimSpace(r.PostForm.Get("secret"))
	if _, fragment, ok := strings.Cut(typed, "#"); ok {
		values, err := url.ParseQuery(fragment)
		if err != nil || values.Get("link") == "" {
			return "", session, registry.ErrAdminLink
		}
		typed = values.Get("link")
	}
	label := browser(r.UserAgent())
	switch {
	case typed == "":
		return "", session, badForm("Paste the admin link or type a token.")
	case strings.HasPrefix(typed, "ef"): // of a token, or what was meant to be one
		return p.cfg.Registry.OpenSession(r.Context(), typed, label)
	}
	return p.cfg.Registry.OpenSessionWithLink(r.Context(), typed, label)
}

// whyNot says why nobody was signed in, and what to do.
func (p *Pages) whyNot(ctx context.Context, err error) (text string, status int) {
	switch {
	case errors.Is(err, registry.ErrAdminLink):
		return "This link is not good: it was used before, has expired, or another was made after it. A link is good once and for a day. " +
			"Sign in with an administrator's token, or have the server make another link: easyfind-rendezvous admin-link.", http.StatusForbidden
	case errors.Is(err, registry.ErrUnauthenticated):
		return "This token is not good: a character is missing or mistyped, or it was revoked or has expired.", http.StatusForbidden
	case errors.Is(err, registry.ErrNotAdmin):
		return "This is the token of a peer. An administrator's token begins with efa_.", http.StatusForbidden
	case errors.Is(err, registry.ErrTokenLimit):
		return "This token has opened as many sessions as it may: sign out elsewhere, or use another token.", http.StatusConflict
	}
	return p.words(ctx, err)
}

// signOut ends the session.
func (p *Pages) signOut(w http.ResponseWriter, r *http.Request) {
	if err := p.cfg.Registry.CloseSession(r.Context(), sessionOf(r.Context())); err != nil {
		text, status := p.words(r.Context(), err)
		p.refuse(w, r, status, text)
		return
	}
	http.SetCookie(w, cookie("", time.Unix(1, 0)))
	http.Redirect(w, r, Path+with("/sign-in", "did", "signed-out"), http.StatusSeeOther)
}

func cookie(secret string, until time.Time) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: secret, Path: "/", Expires: until,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// destination is a page to go to, below Path: never another site.
func destination(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) {
		return ""
	}
	return u.RequestURI()
}

// browser names one by its User-Agent, for the list of sessions.
func browser(agent string) string {
	name, system := "Browser", ""
	for _, known := range [][2]string{{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}} {
		if strings.Contains(agent, known[0]) {
			name = known[1]
			break
		}
	}
	for _, known := range [][2]string{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS", "macOS"}, {"Linux", "Linux"},
	} {
		if strings.Contains(agent, known[0]) {
			system = " on " + known[1]
			break
		}
	}
	return name + system
}

func waiting(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d seconds", int(d/time.Second)+1)
	}
	return fmt.Sprintf("%d minutes", int(d/time.Minute)+1)
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	runes := []rune(s)
	runes[0] = unicode.ToUpper(runes[0])
	return strings.TrimSuffix(string(runes), ".") + "."
}
