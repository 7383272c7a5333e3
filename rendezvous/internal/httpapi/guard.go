package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// The guards stand before the handlers and before anything of the body is read.

type contextKey int

const (
	callerKey contextKey = iota
	adminKey
	exporterKey
)

// caller is the peer whose token the request had.
func caller(ctx context.Context) ident.PeerID {
	id, _ := ctx.Value(callerKey).(ident.PeerID)
	return id
}

// exporter is that of the request's TLS connection, nil where there is none.
func exporter(ctx context.Context) []byte {
	e, _ := ctx.Value(exporterKey).([]byte)
	return e
}

func bearer(ctx huma.Context) string {
	scheme, token, ok := strings.Cut(ctx.Header("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(token) > api.MaxToken {
		return ""
	}
	return token
}

// asPeer lets registered peers pass.
func (s *server) asPeer(ctx huma.Context, next func(huma.Context)) {
	id, err := s.cfg.Registry.Authenticate(ctx.Context(), bearer(ctx))
	if err != nil {
		s.refuse(ctx, err)
		return
	}
	o := registry.Origin{Actor: "peer", Source: sourceOf(middleware.GetClientIPAddr(ctx.Context()))}
	ctx = huma.WithContext(ctx, registry.WithOrigin(ctx.Context(), o))
	next(huma.WithValue(ctx, callerKey, id))
}

// asAdmin lets administrators pass whose token covers a scope. Who fails often
// has to wait, with a good token too: nothing is looked up for a flood.
func (s *server) asAdmin(scope api.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		source, now := middleware.GetClientIPAddr(ctx.Context()), s.cfg.Now()
		if wait := s.limits[limitAdmin].wait(source, now); wait > 0 {
			s.cfg.Registry.Refused(ctx.Context(), limitNames[limitAdmin], ident.PeerID{}, registry.ErrLimited)
			s.refuse(ctx, tooMany(wait))
			return
		}
		t, err := s.cfg.Registry.AuthenticateAdmin(ctx.Context(), bearer(ctx))
		switch {
		case err != nil:
			if !errors.Is(err, registry.ErrUnavailable) {
				s.limits[limitAdmin].take(source, now)
			}
			s.refuse(ctx, err)
		case !t.Scopes.Covers(scope):
			s.refuse(ctx, api.NewProblem(api.CodeScope))
		default:
			o := registry.Origin{Actor: "admin " + t.ID.String(), Source: sourceOf(source)}
			ctx = huma.WithContext(ctx, registry.WithOrigin(ctx.Context(), o))
			next(huma.WithValue(ctx, adminKey, t))
		}
	}
}

// admin is the token of the administrator who asks.
func admin(ctx context.Context) registry.AdminToken {
	t, _ := ctx.Value(adminKey).(registry.AdminToken)
	return t
}

// withSource says from where a request comes, for the audit log.
func withSource(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := registry.Origin{Actor: "stranger", Source: sourceOf(middleware.GetClientIPAddr(r.Context()))}
		next.ServeHTTP(w, r.WithContext(registry.WithOrigin(r.Context(), o)))
	})
}

// limit lets a source pass as often as it may.
func (s *server) limit(what limited) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		wait, ok := s.limits[what].take(middleware.GetClientIPAddr(ctx.Context()), s.cfg.Now())
		if !ok {
			s.cfg.Registry.Refused(ctx.Context(), limitNames[what], ident.PeerID{}, registry.ErrLimited)
			s.refuse(ctx, tooMany(wait))
			return
		}
		next(ctx)
	}
}

func tooMany(wait time.Duration) *api.Problem {
	p := api.NewProblem(api.CodeRateLimited)
	p.RetryAfter = jittered(wait)
	return p
}

// withExporter hands on what a registration may be bound to.
func withExporter(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	if e, err := api.Exporter(r.TLS); err == nil {
		ctx = huma.WithValue(ctx, exporterKey, e)
	}
	next(ctx)
}

func (s *server) refuse(ctx huma.Context, err error) {
	_, w := humachi.Unwrap(ctx)
	write(w, s.problem(ctx.Context(), err))
}
