package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/subscriber"
)

// The guards stand before the handlers and before anything of the body is read.

type contextKey int

const (
	callerKey contextKey = iota
	adminKey
	channelKey
)

// caller is the peer whose token the request had.
func caller(ctx context.Context) ident.PeerID {
	id, _ := ctx.Value(callerKey).(ident.PeerID)
	return id
}

func bearer(ctx huma.Context) string {
	scheme, token, ok := strings.Cut(ctx.Header("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(token) > api.MaxToken {
		return ""
	}
	return token
}

// asPeer lets registered peers pass, each as often as it may.
func (s *server) asPeer(ctx huma.Context, next func(huma.Context)) {
	source := subscriber.Of(middleware.GetClientIPAddr(ctx.Context()))
	if s.blocked(ctx, limitTokens, source) {
		return
	}
	id, err := s.cfg.Registry.Authenticate(ctx.Context(), bearer(ctx))
	if err != nil {
		s.failed(ctx, limitTokens, source, err)
		return
	}
	if wait, ok := s.peers.take(id, s.cfg.Now()); !ok {
		s.cfg.Registry.Refused(ctx.Context(), "use the interface", id, registry.ErrLimited)
		s.refuse(ctx, tooMany(wait))
		return
	}
	ctx = huma.WithContext(ctx, registry.WithOrigin(ctx.Context(), registry.Origin{Actor: "peer", Source: source}))
	next(huma.WithValue(ctx, callerKey, id))
}

// asAdmin lets administrators pass whose token covers a scope.
func (s *server) asAdmin(scope api.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		source := subscriber.Of(middleware.GetClientIPAddr(ctx.Context()))
		if s.blocked(ctx, limitAdmin, source) {
			return
		}
		t, err := s.cfg.Registry.AuthenticateAdmin(ctx.Context(), bearer(ctx))
		switch {
		case err != nil:
			s.failed(ctx, limitAdmin, source, err)
		case !t.Scopes.Covers(scope):
			s.refuse(ctx, api.NewProblem(api.CodeScope))
		default:
			o := registry.Origin{Actor: t.Actor(), Source: source}
			ctx = huma.WithContext(ctx, registry.WithOrigin(ctx.Context(), o))
			next(huma.WithValue(ctx, adminKey, t))
		}
	}
}

// blocked refuses a source that has failed too often lately. It has to wait with
// a good token too: nothing is looked up for a flood.
func (s *server) blocked(ctx huma.Context, what limited, source netip.Prefix) bool {
	wait := s.limits[what].wait(source, s.cfg.Now())
	if wait > 0 {
		s.cfg.Registry.Refused(ctx.Context(), limitNames[what], ident.PeerID{}, registry.ErrLimited)
		s.refuse(ctx, tooMany(wait))
	}
	return wait > 0
}

// failed refuses who is not whom it says it is, and remembers the source. That
// the database is away is nobody's failure.
func (s *server) failed(ctx huma.Context, what limited, source netip.Prefix, err error) {
	if !errors.Is(err, registry.ErrUnavailable) {
		s.limits[what].take(source, s.cfg.Now())
	}
	s.refuse(ctx, err)
}

// Attempts bounds the failed attempts to be an administrator that a source makes
// beside this interface, together with those that it makes here.
type Attempts struct{ server *server }

// Wait returns how long the source of a request must wait before it may try.
func (a Attempts) Wait(ctx context.Context) time.Duration {
	wait := a.server.limits[limitAdmin].wait(subscriber.Of(middleware.GetClientIPAddr(ctx)), a.server.cfg.Now())
	if wait > 0 {
		a.server.cfg.Registry.Refused(ctx, limitNames[limitAdmin], ident.PeerID{}, registry.ErrLimited)
	}
	return wait
}

// Failed counts an attempt that failed.
func (a Attempts) Failed(ctx context.Context) {
	a.server.limits[limitAdmin].take(subscriber.Of(middleware.GetClientIPAddr(ctx)), a.server.cfg.Now())
}

// admin is the token of the administrator who asks.
func admin(ctx context.Context) registry.AdminToken {
	t, _ := ctx.Value(adminKey).(registry.AdminToken)
	return t
}

// withSource says from where a request comes, for the audit log.
func withSource(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := registry.Origin{Actor: "stranger", Source: subscriber.Of(middleware.GetClientIPAddr(r.Context()))}
		next.ServeHTTP(w, r.WithContext(registry.WithOrigin(r.Context(), o)))
	})
}

// storeTime bounds a request, beside what it waits for on purpose: a database
// that hangs is away for whoever asks, and those who ask do not pile up.
const storeTime = 8 * time.Second

func bounded(ctx huma.Context, next func(huma.Context)) {
	limit := storeTime
	if ctx.Query("wait") != "" {
		limit += api.MaxWait
	}
	within, cancel := context.WithTimeout(ctx.Context(), limit)
	defer cancel()
	next(huma.WithContext(ctx, within))
}

// limit lets a source pass as often as it may.
func (s *server) limit(what limited) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if err := s.take(ctx.Context(), what); err != nil {
			s.refuse(ctx, err)
			return
		}
		next(ctx)
	}
}

// take takes a token of the source that asks.
func (s *server) take(ctx context.Context, what limited) error {
	wait, ok := s.limits[what].take(subscriber.Of(middleware.GetClientIPAddr(ctx)), s.cfg.Now())
	if ok {
		return nil
	}
	s.cfg.Registry.Refused(ctx, limitNames[what], ident.PeerID{}, registry.ErrLimited)
	return tooMany(wait)
}

func tooMany(wait time.Duration) *api.Problem {
	p := api.NewProblem(api.CodeRateLimited)
	p.RetryAfter = jittered(wait)
	return p
}

func (s *server) refuse(ctx huma.Context, err error) {
	_, w := humachi.Unwrap(ctx)
	write(w, s.problem(ctx.Context(), err))
}
