package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
)

// tokenHandler manages administrators' tokens.
type tokenHandler struct {
	tokens Tokens
	admin  *sourceLimit
}

func (h *tokenHandler) mount(e *endpoints) {
	mount(e, http.MethodPost, api.PathAdminLink, operation{
		id: "use-admin-link", summary: "Exchange a one-time admin link for a token with every scope",
		codes:  slices.Concat(withBody, []api.Code{api.CodeAdminLink, api.CodeRateLimited}),
		guards: huma.Middlewares{e.guards.limited(h.admin)},
	}, h.useLink)
	mount(e, http.MethodPost, api.PathTokens, operation{
		id: "create-token", summary: "Create a token for an administrator",
		codes: slices.Concat(withBody, []api.Code{api.CodeTokenLimit, api.CodeIdempotency}),
	}, h.create)
	mount(e, http.MethodGet, api.PathTokens, operation{
		id: "list-tokens", summary: "List the administrators' tokens, oldest first",
	}, h.list)
	mount(e, http.MethodGet, api.PathToken, operation{
		id:      "get-token",
		summary: "Get a token; the ID self stands for the caller's token, any other ID needs the scope admin",
		codes:   []api.Code{api.CodeTokenNotFound},
	}, h.get)
	mount(e, http.MethodDelete, api.PathToken, operation{
		id: "revoke-token", summary: "Revoke a token immediately", codes: []api.Code{api.CodeTokenNotFound},
	}, h.revoke)
}

type adminLinkInput struct{ Body api.AdminLinkUse }

func (h *tokenHandler) useLink(ctx context.Context, in *adminLinkInput) (*output[api.AdminToken], error) {
	secret, t, err := h.tokens.RedeemAdminLink(ctx, in.Body.Code, in.Body.Label)
	return &output[api.AdminToken]{wireToken(secret, t)}, err
}

// IdempotencyHeader lets a client repeat a request whose answer was lost.
type IdempotencyHeader struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"64" doc:"the same key gets the same answer"`
}

type tokenInput struct {
	IdempotencyHeader
	Body api.AdminTokenRequest
}

func (h *tokenHandler) create(ctx context.Context, in *tokenInput) (*output[api.AdminToken], error) {
	scopes, err := administration.ScopesOf(in.Body.Scopes)
	if err != nil {
		return nil, err
	}
	secret, t, err := h.tokens.CreateToken(ctx, administration.TokenSpec{
		Label: in.Body.Label, Scopes: scopes, TTL: time.Duration(in.Body.Seconds) * time.Second, Key: in.IdempotencyKey,
	})
	return &output[api.AdminToken]{wireToken(secret, t)}, err
}

func wireToken(secret string, t administration.Token) api.AdminToken {
	return api.AdminToken{
		ID: t.ID.String(), Token: secret, Label: t.Label, Scopes: t.Scopes.List(),
		Created: t.Created.UTC(), Expires: t.Expires.UTC(), Revoked: t.Revoked,
		SignIn: t.SignIn,
	}
}

func (h *tokenHandler) list(ctx context.Context, in *PageQuery) (*output[api.AdminTokens], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	all, err := h.tokens.Tokens(ctx, p)
	all, next := cut(all, in.Limit, func(t administration.Token) string { return cursor(t.Place()) })
	list := api.AdminTokens{Tokens: []api.AdminToken{}, Next: next}
	for _, t := range all {
		list.Tokens = append(list.Tokens, wireToken("", t))
	}
	return &output[api.AdminTokens]{list}, err
}

func (h *tokenHandler) get(ctx context.Context, in *shortIDInput) (*output[api.AdminToken], error) {
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
	t, err := h.tokens.Token(ctx, id)
	return &output[api.AdminToken]{wireToken("", t)}, err
}

func (h *tokenHandler) revoke(ctx context.Context, in *shortIDInput) (*empty, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	return nil, h.tokens.RevokeToken(ctx, id)
}
