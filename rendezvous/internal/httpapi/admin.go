package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
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
	}
}

// Paging asks for a part of a list.
type Paging struct {
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"items at most"`
	After string `query:"after" maxLength:"64" doc:"next of the page before"`
}

// page is the part asked for of a list that is ordered by when its items were
// made. It asks for one item more, which tells whether there is a next page.
func (in Paging) page() (registry.Page, error) {
	p := registry.Page{Limit: in.Limit + 1}
	if in.After == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(in.After)
	if err != nil || len(raw) != 8+len(p.After.ID) {
		return p, errCursor
	}
	p.After.At = time.UnixMilli(int64(binary.BigEndian.Uint64(raw)))
	copy(p.After.ID[:], raw[8:])
	return p, nil
}

var errCursor = invalid("query.after", "not next of a page: begin without it")

// cut makes a page of at most limit of the items, and tells where the next one
// begins, if there is one.
func cut[T any](items []T, limit int, place func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	return items[:limit], place(items[limit-1])
}

func cursor(c registry.Cursor) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(c.At.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(raw, c.ID[:]...))
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

// tokenIDInput is a token in the path.
type tokenIDInput struct {
	ID string `path:"id" maxLength:"16" doc:"the ID of a token" example:"9f0c2b7d41aa35e6"`
}

func (in tokenIDInput) token() (id registry.TokenPrefix, err error) {
	if raw, err := hex.DecodeString(in.ID); err == nil && len(raw) == len(id) {
		return registry.TokenPrefix(raw), nil
	}
	return id, invalid("path.id", "not the ID of a token: 16 hexadecimal digits")
}

func (s *server) token(ctx context.Context, in *tokenIDInput) (*output[api.AdminToken], error) {
	self := admin(ctx)
	if in.ID == "self" {
		return &output[api.AdminToken]{wireToken("", self)}, nil
	}
	id, err := in.token()
	if err != nil {
		return nil, err
	}
	if id != self.ID && !self.Scopes.Covers(api.ScopeAdmin) {
		return nil, api.NewProblem(api.CodeScope)
	}
	t, err := s.cfg.Registry.Token(ctx, id)
	return &output[api.AdminToken]{wireToken("", t)}, err
}

func (s *server) revokeToken(ctx context.Context, in *tokenIDInput) (*nothing, error) {
	id, err := in.token()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.RevokeToken(ctx, id)
}
