package httpapi

import (
	"context"
	"crypto/sha256"
	"strings"

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
	next(huma.WithValue(ctx, callerKey, id))
}

// asAdmin lets the administrator pass.
func (s *server) asAdmin(ctx huma.Context, next func(huma.Context)) {
	token := bearer(ctx)
	hash := registry.Digest(sha256.Sum256([]byte(token)))
	switch {
	case token == "":
		s.refuse(ctx, api.NewProblem(api.CodeUnauthenticated))
	case s.cfg.AdminToken == registry.Digest{} || !ident.Equal(hash[:], s.cfg.AdminToken[:]):
		s.refuse(ctx, api.NewProblem(api.CodeAdmin))
	default:
		next(ctx)
	}
}

// limit lets a source pass as often as it may.
func (s *server) limit(what limited) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		wait, ok := s.limits[what].take(middleware.GetClientIPAddr(ctx.Context()), s.cfg.Now())
		if !ok {
			p := api.NewProblem(api.CodeRateLimited)
			p.RetryAfter = jittered(wait)
			s.refuse(ctx, p)
			return
		}
		next(ctx)
	}
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
