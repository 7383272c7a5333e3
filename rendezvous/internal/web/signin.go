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
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// cookieName has the prefix that makes browsers accept the cookie only if it is
// secure and belongs to this host alone (RFC 6265bis section 4.1.3.2).
const cookieName = "__Host-easyfind-admin"

type signInKey struct{}

// signInOf returns the sign-in under which a request is made.
func signInOf(ctx context.Context) administration.Token {
	t, _ := ctx.Value(signInKey{}).(administration.Token)
	return t
}

// signIns signs administrators in and out.
type signIns struct {
	store    SignIns
	attempts Attempts
	renderer *renderer
}

// current returns the sign-in of a request's cookie. Errors:
// registry.ErrUnauthenticated.
func (s *signIns) current(r *http.Request) (administration.Token, error) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return administration.Token{}, registry.ErrUnauthenticated
	}
	return s.store.AuthenticateSignIn(r.Context(), c.Value)
}

// require returns a handler that lets a request pass if its browser is signed in
// and the sign-in covers a scope.
func (s *signIns) require(scope api.Scope, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signIn, err := s.current(r)
		switch {
		case errors.Is(err, registry.ErrUnauthenticated):
			s.askToSignIn(w, r)
			return
		case err != nil:
			text, status := s.renderer.describe(r.Context(), err)
			s.renderer.refuse(w, status, text)
			return
		}
		o := audit.Origin{Actor: signIn.Actor(), Source: audit.OriginOf(r.Context()).Source}
		ctx := audit.WithOrigin(context.WithValue(r.Context(), signInKey{}, signIn), o)
		if !signIn.Scopes.Covers(scope) {
			v := s.renderer.view(r.WithContext(ctx), page{title: "Not permitted"})
			v.Problem = fmt.Sprintf("You may not see this page: it needs the scope %q. "+
				"Ask an administrator with the scope \"admin\" for a token that has it.", scope)
			s.renderer.write(w, "page", v, http.StatusForbidden)
			return
		}
		next(w, r.WithContext(ctx))
	})
}

// askToSignIn redirects a browser that is not signed in to the sign-in page. An
// event stream gets the event "gone" instead.
func (s *signIns) askToSignIn(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Accept") == "text/event-stream":
		sendGone(w)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		s.renderer.refuse(w, http.StatusUnauthorized,
			"You are not signed in any more, so nothing was changed. Sign in and try again.")
	default:
		to := Path + "/sign-in"
		if r.URL.Path != Path {
			to += "?to=" + url.QueryEscape(strings.TrimPrefix(r.URL.RequestURI(), Path))
		}
		http.Redirect(w, r, to, http.StatusSeeOther) // browsers keep the fragment
	}
}

// form shows the sign-in page.
func (s *signIns) form(w http.ResponseWriter, r *http.Request) {
	if _, err := s.current(r); err == nil {
		http.Redirect(w, r, Path+destination(r.URL.Query().Get("to")), http.StatusSeeOther)
		return
	}
	v := s.renderer.view(r, page{title: "Sign in"})
	v.Data = destination(r.URL.Query().Get("to"))
	v.Notice = notices[r.URL.Query().Get("did")]
	s.renderer.write(w, "sign-in", v, http.StatusOK)
}

// state reports whether the cookie of the request belongs to a sign-in. A browser
// that follows a link from another site does not send the cookie at first
// (SameSite=Strict). The sign-in page therefore asks here, and reloads if the
// browser is signed in.
func (s *signIns) state(w http.ResponseWriter, r *http.Request) {
	_, err := s.current(r)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"signed_in":%t}`+"\n", err == nil)
}

// signIn signs a browser in and sets its cookie.
func (s *signIns) signIn(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v := s.renderer.view(r, page{title: "Sign in"})
	v.Data = destination(r.PostForm.Get("to"))
	if wait := s.attempts.Wait(ctx); wait > 0 {
		v.Problem = fmt.Sprintf("Too many attempts from your address failed. Wait %s and try again.", waitWords(wait))
		w.Header().Set("Retry-After", fmt.Sprint(int(wait/time.Second)+1))
		s.renderer.write(w, "sign-in", v, http.StatusTooManyRequests)
		return
	}
	secret, signIn, err := s.open(r)
	if err != nil {
		if !errors.Is(err, registry.ErrUnavailable) {
			s.attempts.Failed(ctx)
		}
		var status int
		v.Problem, status = s.describe(ctx, err)
		s.renderer.write(w, "sign-in", v, status)
		return
	}
	http.SetCookie(w, cookie(secret, signIn.Expires))
	http.Redirect(w, r, Path+destination(r.PostForm.Get("to")), http.StatusSeeOther)
}

// open opens a sign-in with the text of the form: a whole admin link, the code of
// one, or a token.
func (s *signIns) open(r *http.Request) (secret string, signIn administration.Token, err error) {
	typed := strings.TrimSpace(r.PostForm.Get("secret"))
	label := browserName(r.UserAgent())
	if _, fragment, ok := strings.Cut(typed, "#"); ok {
		values, err := url.ParseQuery(fragment)
		if err != nil || values.Get("link") == "" {
			return "", signIn, administration.ErrAdminLink
		}
		return s.store.SignInWithLink(r.Context(), values.Get("link"), label)
	}
	switch {
	case typed == "":
		return "", signIn, formError("Paste the admin link or type a token.")
	case strings.HasPrefix(typed, "ef"): // every token begins with it, and one code in 4096
		return s.store.SignIn(r.Context(), typed, label)
	}
	return s.store.SignInWithLink(r.Context(), typed, label)
}

// describe returns the reason why a sign-in failed and what to do, and the HTTP
// status.
func (s *signIns) describe(ctx context.Context, err error) (text string, status int) {
	switch {
	case errors.Is(err, administration.ErrAdminLink):
		return "This link is not valid: it was used before, it has expired, or a newer link was made. " +
			"A link works once, within one day. Sign in with an administrator's token, " +
			"or make another link on the server: easyfind-rendezvous admin-link.", http.StatusForbidden
	case errors.Is(err, registry.ErrUnauthenticated):
		return "This token is not valid: a character is missing or mistyped, or it was revoked or has expired.",
			http.StatusForbidden
	case errors.Is(err, administration.ErrNotAdmin):
		return "This is the token of a peer. An administrator's token begins with efa_.", http.StatusForbidden
	case errors.Is(err, administration.ErrTokenLimit):
		return "The largest number of browsers is signed in with this token: sign out in another browser, " +
			"or use another token.", http.StatusConflict
	}
	return s.renderer.describe(ctx, err)
}

// signOut ends the sign-in of a browser.
func (s *signIns) signOut(w http.ResponseWriter, r *http.Request) {
	if err := s.store.SignOut(r.Context(), signInOf(r.Context())); err != nil {
		text, status := s.renderer.describe(r.Context(), err)
		s.renderer.refuse(w, status, text)
		return
	}
	http.SetCookie(w, cookie("", time.Unix(1, 0)))
	http.Redirect(w, r, Path+with("/sign-in", "did", "signed-out"), http.StatusSeeOther)
}

func cookie(secret string, expires time.Time) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: secret, Path: "/", Expires: expires,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// destination returns to if it is a URL path below Path, and "" if it leads
// elsewhere, such as to another site.
func destination(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(to, "//") || strings.Contains(to, `\`) {
		return ""
	}
	return u.RequestURI()
}

// browserName names a browser by its User-Agent, for the list of sign-ins.
func browserName(agent string) string {
	name, system := "Browser", ""
	for _, known := range [][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	} {
		if strings.Contains(agent, known[0]) {
			name = known[1]
			break
		}
	}
	for _, known := range [][2]string{
		{"Android", "Android"},
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Windows", "Windows"},
		{"Mac OS", "macOS"},
		{"Linux", "Linux"},
	} {
		if strings.Contains(agent, known[0]) {
			system = " on " + known[1]
			break
		}
	}
	return name + system
}

// waitWords describes a duration, rounded up.
func waitWords(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d seconds", int(d/time.Second)+1)
	}
	return fmt.Sprintf("%d minutes", int(d/time.Minute)+1)
}

// sentence returns a text with a capital letter at the beginning and a full stop at
// the end.
func sentence(s string) string {
	if s == "" {
		return s
	}
	runes := []rune(s)
	runes[0] = unicode.ToUpper(runes[0])
	return strings.TrimSuffix(string(runes), ".") + "."
}
