package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/easyfind-usb/easyfind/internal/limits"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// guards authenticate clients and enforce limits. They run before the handlers and
// before any byte of the body is read.
type guards struct {
	byPeer   PeerTokens
	byAdmin  AdminTokens
	refusals Refusals
	problems problems
	tokens   *sourceLimit // on failed attempts to authenticate as a peer
	admin    *sourceLimit // on failed attempts to authenticate as an administrator
	peers    *limits.Limiter[ident.PeerID]
	now      func() time.Time
}

type contextKey int

const (
	callerKey contextKey = iota
	adminKey
	channelKey
)

// caller returns the peer that was authenticated by asPeer.
func caller(ctx context.Context) ident.PeerID {
	id, _ := ctx.Value(callerKey).(ident.PeerID)
	return id
}

// admin returns the administrator's token that was authenticated by asAdmin.
func admin(ctx context.Context) administration.Token {
	t, _ := ctx.Value(adminKey).(administration.Token)
	return t
}

// bearer returns the token of a request (RFC 6750 section 2.1), or "".
func bearer(ctx huma.Context) string {
	scheme, token, ok := strings.Cut(ctx.Header("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(token) > api.MaxToken {
		return ""
	}
	return token
}

// asPeer lets registered peers pass, each within its own limit.
func (g *guards) asPeer(ctx huma.Context, next func(huma.Context)) {
	if g.blocked(ctx, g.tokens) {
		return
	}
	id, err := g.byPeer.Authenticate(ctx.Context(), bearer(ctx))
	if err != nil {
		g.failed(ctx, g.tokens, err)
		return
	}
	if wait, ok := g.peers.Take(id, g.now()); !ok {
		g.refusals.Refused(ctx.Context(), "use the interface", id, registry.ErrLimited)
		g.problems.refuse(ctx, tooMany(wait))
		return
	}
	o := audit.Origin{Actor: "peer", Source: sourceOf(ctx.Context())}
	ctx = huma.WithContext(ctx, audit.WithOrigin(ctx.Context(), o))
	next(huma.WithValue(ctx, callerKey, id))
}

// asAdmin returns a guard that lets administrators pass whose token covers scope.
func (g *guards) asAdmin(scope api.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if g.blocked(ctx, g.admin) {
			return
		}
		t, err := g.byAdmin.AuthenticateAdmin(ctx.Context(), bearer(ctx))
		switch {
		case err != nil:
			g.failed(ctx, g.admin, err)
		case !t.Scopes.Covers(scope):
			g.problems.refuse(ctx, api.NewProblem(api.CodeScope))
		default:
			o := audit.Origin{Actor: t.Actor(), Source: sourceOf(ctx.Context())}
			ctx = huma.WithContext(ctx, audit.WithOrigin(ctx.Context(), o))
			next(huma.WithValue(ctx, adminKey, t))
		}
	}
}

// blocked refuses a request whose source has failed too often. The source must
// wait even if its token is good: during a flood no token is looked up.
func (g *guards) blocked(ctx huma.Context, limit *sourceLimit) bool {
	wait := limit.wait(ctx.Context())
	if wait > 0 {
		g.problems.refuse(ctx, tooMany(wait))
	}
	return wait > 0
}

// failed rejects a request with bad credentials and counts it against its source
// address. A failure of the database is not counted.
func (g *guards) failed(ctx huma.Context, limit *sourceLimit, err error) {
	if !errors.Is(err, registry.ErrUnavailable) {
		limit.count(ctx.Context())
	}
	g.problems.refuse(ctx, err)
}

// limited returns a guard that counts each request against its source and refuses
// it if the source exceeds the limit.
func (g *guards) limited(limit *sourceLimit) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if err := limit.take(ctx.Context()); err != nil {
			g.problems.refuse(ctx, err)
			return
		}
		next(ctx)
	}
}

// sourceOf returns the rate-limit prefix of the client's address.
func sourceOf(ctx context.Context) netip.Prefix {
	return limits.Prefix(middleware.GetClientIPAddr(ctx))
}

// withSource stores the source of a request in its context, for the audit log.
func withSource(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := audit.Origin{Actor: "stranger", Source: sourceOf(r.Context())}
		next.ServeHTTP(w, r.WithContext(audit.WithOrigin(r.Context(), o)))
	})
}

// storeTimeout bounds the time that a request waits for the database, so that
// requests do not pile up behind a database that hangs.
const storeTimeout = 8 * time.Second

// bounded sets the deadline of a request: storeTimeout, and the time that the
// client wants to wait for an event.
func bounded(ctx huma.Context, next func(huma.Context)) {
	timeout := storeTimeout
	if ctx.Query("wait") != "" {
		timeout += api.MaxWait
	}
	within, cancel := context.WithTimeout(ctx.Context(), timeout)
	defer cancel()
	next(huma.WithContext(ctx, within))
}
