package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerTokens() {
	mount(s, http.MethodPost, api.PathAdminLink, operation{
		id: "use-admin-link", summary: "Trade a one-time admin link for a token with every scope",
		codes:  slices.Concat(withBody, []api.Code{api.CodeAdminLink, api.CodeRateLimited}),
		guards: huma.Middlewares{s.limit(limitAdmin)},
	}, s.useAdminLink)
	mount(s, http.MethodPost, api.PathTokens, operation{
		id: "create-token", summary: "Make a token for an administrator",
		codes: slices.Concat(withBody, []api.Code{api.CodeTokenLimit, api.CodeIdempotency}),
	}, s.createToken)
	mount(s, http.MethodGet, api.PathTokens, operation{id: "list-tokens", summary: "The administrators' tokens, oldest first"}, s.listTokens)
	mount(s, http.MethodGet, api.PathToken, operation{
		id: "get-token", summary: "An administrator's token; self is the caller's, another needs the scope admin",
		codes: []api.Code{api.CodeTokenNotFound},
	}, s.token)
	mount(s, http.MethodDelete, api.PathToken, operation{
		id: "revoke-token", summary: "End a token at once", codes: []api.Code{api.CodeTokenNotFound},
	}, s.revokeToken)
}

type adminLinkInput struct{ Body api.AdminLinkUse }

func (s *server) useAdminLink(ctx context.Context, in *adminLinkInput) (*output[api.AdminToken], error) {
	secret, t, err := s.cfg.Registry.RedeemAdminLink(ctx, in.Body.Code, in.Body.Label)
	return &output[api.AdminToken]{wireToken(secret, t)}, err
}

// Repeatable is a request that may be sent again when its answer was lost.
type Repeatable struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"64" doc:"text of the client's own; the same request with the same key has the same answer as before, the secret in it too" example:"4c0d8a52-0e55-4b7e-9c6f-1d2f0f4f8a11"`
}

type tokenInput struct {
	Repeatable
	Body api.AdminTokenRequest
}

func (s *server) createToken(ctx context.Context, in *tokenInput) (*output[api.AdminToken], error) {
	scopes, err := registry.ScopesOf(in.Body.Scopes)
	if err != nil {
		return nil, err
	}
	secret, t, err := s.cfg.Registry.CreateToken(ctx, registry.TokenSpec{
		Label: in.Body.Label, Scopes: scopes, TTL: time.Duration(in.Body.Seconds) * time.Second, Key: in.IdempotencyKey,
	})
	return &output[api.AdminToken]{wireToken(secret, t)}, err
}

func wireToken(secret string, t registry.AdminToken) api.AdminToken {
	return api.AdminToken{
		ID: t.ID.String(), Token: secret, Label: t.Label, Scopes: t.Scopes.List(),
		Created: t.Created.UTC(), Expires: t.Expires.UTC(), Revoked: t.Revoked,
		Session: t.Session,
	}
}

func (s *server) listTokens(ctx context.Context, in *Paging) (*output[api.AdminTokens], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Registry.Tokens(ctx, p)
	all, next := cut(all, in.Limit, func(t registry.AdminToken) string { return cursor(t.Place()) })
	list := api.AdminTokens{Tokens: []api.AdminToken{}, Next: next}
	for _, t := range all {
		list.Tokens = append(list.Tokens, wireToken("", t))
	}
	return &output[api.AdminTokens]{list}, err
}

func (s *server) token(ctx context.Context, in *inShortID) (*output[api.AdminToken], error) {
	self := admin(ctx)
	if in.ID == "self" {
		return &output[api.AdminToken]{wireToken("", self)}, nil
	}
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	if id != self.ID && !self.Scopes.Covers(api.ScopeAdmin) {
		return nil, api.NewProblem(api.CodeScope)
	}
	t, err := s.cfg.Registry.Token(ctx, id)
	return &output[api.AdminToken]{wireToken("", t)}, err
}

func (s *server) revokeToken(ctx context.Context, in *inShortID) (*nothing, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.RevokeToken(ctx, id)
}
