// Package administration holds the administrators of a rendezvous: their tokens,
// the browsers that are signed in to the admin page, and the one-time link for
// the first administrator.
package administration

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// Errors. Each says what is wrong; the user interfaces say what to do.
var (
	ErrNotAdmin = &registry.Error{
		Text: "the token is no administrator's", Code: api.CodeAdmin,
		Refusal: "not_admin",
	}
	ErrAdminLink = &registry.Error{
		Text: "the admin link is not good", Code: api.CodeAdminLink,
		Refusal: "admin_link",
	}
	ErrTokenSpec     = &registry.Error{Text: "a token's label, scopes or lifetime is out of bounds"}
	ErrTokenNotFound = &registry.Error{Text: "no such token", Code: api.CodeTokenNotFound}
	ErrTokenLimit    = &registry.Error{Text: "too many tokens", Code: api.CodeTokenLimit}
)

// TokenRetention is the time that a token is kept after it expired, for
// administrators to see.
const TokenRetention = 7 * 24 * time.Hour

const (
	maxTokens       = 1000
	defaultTokenTTL = 90 * 24 * time.Hour
	linkTTL         = 24 * time.Hour
)

// Store keeps administrators' tokens, sign-ins, and the one-time link. A method
// that changes something writes its event in the same transaction.
type Store interface {
	// PutAdminLink keeps a link in place of the previous one. Unless force is
	// set, it does so only if there is neither a valid link nor a valid token
	// with the scope admin. It returns the hash of the link that is valid
	// afterwards, zero if none.
	PutAdminLink(ctx context.Context, l Link, now time.Time, force bool) (valid registry.Digest, err error)
	// RedeemAdminLink uses a link up and keeps the token. Errors: ErrAdminLink.
	RedeemAdminLink(ctx context.Context, link registry.Digest, t Token, e audit.Event) error
	// PutAdminToken keeps a token and returns the kept token: one with the same
	// ID stays unchanged. Errors: ErrTokenLimit beyond max tokens or, for a
	// sign-in, beyond max sign-ins of the same parent.
	PutAdminToken(ctx context.Context, t Token, max int, e audit.Event) (Token, error)
	// AdminToken returns a token. Errors: ErrTokenNotFound.
	AdminToken(ctx context.Context, id registry.TokenPrefix) (Token, error)
	// AdminTokens returns a page of the tokens, oldest first.
	AdminTokens(ctx context.Context, p registry.Page) ([]Token, error)
	// RevokeAdminToken ends a token. Revoking it again is not an error and writes
	// no event. Errors: ErrTokenNotFound.
	RevokeAdminToken(ctx context.Context, id registry.TokenPrefix, e audit.Event) error
}

// Link gives its first user a token with every scope.
type Link struct {
	Hash    registry.Digest
	Expires time.Time
}

// Token is a token of an administrator, or a sign-in of a browser.
type Token struct {
	ID      registry.TokenPrefix
	Hash    registry.Digest
	Label   string
	Scopes  Scopes
	Created time.Time
	Expires time.Time
	Revoked bool
	SignIn  bool
	Parent  registry.TokenPrefix // of a sign-in: the token that signed in; zero if the one-time link did
}

// Place returns the token's position in the list of tokens.
func (t Token) Place() registry.Cursor { return registry.Cursor{At: t.Created, ID: t.ID} }

// Actor returns the name of the token's user in the audit log. A sign-in acts in
// the name of its parent if it has one.
func (t Token) Actor() string {
	if t.Parent != (registry.TokenPrefix{}) {
		return "admin " + t.Parent.String()
	}
	return "admin " + t.ID.String()
}

// TokenSpec describes a new token.
type TokenSpec struct {
	Label  string // for people, at most 128 printable characters
	Scopes Scopes
	TTL    time.Duration // at most a year; 0 is 90 days
	// Key makes the request repeatable: the same key of the same actor yields the
	// same token. "" creates a new token each time.
	Key string
}

// Config configures a Service.
type Config struct {
	Store   Store
	Secrets *registry.Secrets
	// AuthenticatePeer returns the peer that a peer's token belongs to.
	AuthenticatePeer func(ctx context.Context, token string) (ident.PeerID, error)
	Now              func() time.Time // nil: time.Now
	// Refused counts a refused request, see audit.Log.
	Refused func(ctx context.Context, request string, peer ident.PeerID, err error)
}

// Service creates and authenticates administrators' tokens. Its methods may be
// called concurrently.
type Service struct {
	cfg Config // static after New
}

// New returns a service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Secrets == nil || c.AuthenticatePeer == nil || c.Refused == nil {
		return nil, errors.New("administration: a store, secrets, peers and a count of refusals are needed")
	}
	c.Now = registry.Clock(c.Now)
	return &Service{c}, nil
}

// CreateToken creates a token, of which only the digest is kept. Errors:
// ErrTokenSpec, ErrTokenLimit, registry.ErrIdempotency.
func (s *Service) CreateToken(ctx context.Context, spec TokenSpec) (token string, t Token, err error) {
	token, t, err = s.newToken(ctx, registry.AdminMark, spec)
	if err != nil {
		return "", t, err
	}
	kept, err := s.cfg.Store.PutAdminToken(ctx, t, maxTokens, s.tokenEvent(ctx, audit.KindTokenCreated, t))
	if err != nil {
		return "", t, err
	}
	if kept.Label != t.Label || kept.Scopes != t.Scopes || kept.Expires.Sub(kept.Created) != t.Expires.Sub(t.Created) {
		return "", t, registry.ErrIdempotency
	}
	return token, kept, nil
}

func (s *Service) newToken(ctx context.Context, mark registry.TokenMark, spec TokenSpec) (token string, t Token,
	err error,
) {
	if spec.TTL == 0 {
		spec.TTL = defaultTokenTTL
	}
	if !registry.ValidLabel(spec.Label) || spec.Scopes == 0 || spec.TTL < time.Second || spec.TTL > api.MaxTokenTTL {
		return "", t, ErrTokenSpec
	}
	var raw registry.TokenBytes
	r := registry.Request{Purpose: "token", Actor: audit.OriginOf(ctx).Actor, Key: spec.Key}
	if err := s.cfg.Secrets.Draw(ctx, r, raw[:]); err != nil {
		return "", t, fmt.Errorf("new token: %w", err)
	}
	token, t.ID, t.Hash = mark.Token(raw)
	now := s.cfg.Now()
	t.Label, t.Scopes, t.Created, t.Expires = spec.Label, spec.Scopes, now, now.Add(spec.TTL)
	return token, t, nil
}

// AuthenticateAdmin returns the administrator's token with a text. Errors:
// registry.ErrUnauthenticated, also for a token that is revoked or has expired;
// ErrNotAdmin for the token of a peer.
func (s *Service) AuthenticateAdmin(ctx context.Context, token string) (Token, error) {
	t, err := s.authenticate(ctx, token)
	if err != nil && token != "" {
		s.cfg.Refused(ctx, "administer", ident.PeerID{}, err)
	}
	return t, err
}

func (s *Service) authenticate(ctx context.Context, token string) (Token, error) {
	if registry.PeerMark.Has(token) {
		if _, err := s.cfg.AuthenticatePeer(ctx, token); err != nil {
			return Token{}, err
		}
		return Token{}, ErrNotAdmin
	}
	return s.valid(ctx, registry.AdminMark, token)
}

// valid returns the valid token with a mark and a text. Errors:
// registry.ErrUnauthenticated.
func (s *Service) valid(ctx context.Context, mark registry.TokenMark, text string) (Token, error) {
	prefix, err := mark.Prefix(text)
	if err != nil {
		return Token{}, err
	}
	t, err := s.cfg.Store.AdminToken(ctx, prefix)
	if err != nil {
		return Token{}, registry.Replace(err, ErrTokenNotFound, registry.ErrUnauthenticated)
	}
	if !t.Hash.Matches(text) || !s.unexpired(t) {
		return Token{}, registry.ErrUnauthenticated
	}
	return t, nil
}

// unexpired reports whether a token is neither revoked nor expired.
func (s *Service) unexpired(t Token) bool { return !t.Revoked && s.cfg.Now().Before(t.Expires) }

// Token returns a token. Errors: ErrTokenNotFound.
func (s *Service) Token(ctx context.Context, id registry.TokenPrefix) (Token, error) {
	return s.cfg.Store.AdminToken(ctx, id)
}

// Tokens returns a page of the tokens and sign-ins, oldest first.
func (s *Service) Tokens(ctx context.Context, p registry.Page) ([]Token, error) {
	return s.cfg.Store.AdminTokens(ctx, p)
}

// RevokeToken ends a token at once. Revoking it again is not an error. Errors:
// ErrTokenNotFound.
func (s *Service) RevokeToken(ctx context.Context, id registry.TokenPrefix) error {
	e := audit.NewEvent(ctx, s.cfg.Now(), audit.KindTokenRevoked)
	e.Detail = id.String()
	return s.cfg.Store.RevokeAdminToken(ctx, id, e)
}

func (s *Service) tokenEvent(ctx context.Context, kind audit.Kind, t Token) audit.Event {
	e := audit.NewEvent(ctx, s.cfg.Now(), kind)
	e.Detail = audit.Detail(t.ID.String(), fmt.Sprint(t.Scopes.List()), t.Label)
	return e
}

// AdminLink returns the code of a new one-time link, valid for a day, in place of
// the previous link. Unless force is set, it creates a link only if there is
// neither an administrator nor a valid link; if the link with the code previous
// is valid, it returns that code, and otherwise "".
func (s *Service) AdminLink(ctx context.Context, previous string, force bool) (code string, err error) {
	var raw [16]byte
	if err := s.cfg.Secrets.Fill(raw[:]); err != nil {
		return "", fmt.Errorf("new admin link: %w", err)
	}
	fresh := base64.RawURLEncoding.EncodeToString(raw[:])
	now := s.cfg.Now()
	valid, err := s.cfg.Store.PutAdminLink(ctx, Link{Hash: linkDigest(fresh), Expires: now.Add(linkTTL)}, now, force)
	if err != nil {
		return "", err
	}
	for _, code := range []string{fresh, previous} {
		if valid == linkDigest(code) {
			return code, nil
		}
	}
	return "", nil
}

func linkDigest(code string) registry.Digest { return sha256.Sum256([]byte("admin link " + code)) }

// RedeemAdminLink uses up a link's code and returns a token with every scope,
// valid for a year. Errors: ErrAdminLink, ErrTokenSpec.
func (s *Service) RedeemAdminLink(ctx context.Context, code, label string) (token string, t Token, err error) {
	token, t, err = s.newToken(ctx, registry.AdminMark, TokenSpec{
		Label: label, Scopes: AllScopes,
		TTL: api.MaxTokenTTL,
	})
	if err != nil {
		return "", t, err
	}
	if err := s.redeem(ctx, code, t, s.tokenEvent(actingAs(ctx, t), audit.KindTokenCreated, t)); err != nil {
		return "", t, err
	}
	return token, t, nil
}

func (s *Service) redeem(ctx context.Context, code string, t Token, e audit.Event) error {
	err := s.cfg.Store.RedeemAdminLink(ctx, linkDigest(code), t, e)
	if err != nil {
		s.cfg.Refused(ctx, "use an admin link", ident.PeerID{}, err)
	}
	return err
}

// actingAs returns a context of a request by the user of a token, from the same
// source as ctx.
func actingAs(ctx context.Context, t Token) context.Context {
	return audit.WithOrigin(ctx, audit.Origin{Actor: t.Actor(), Source: audit.OriginOf(ctx).Source})
}

// Scopes is a set of scopes, one bit each, in the order of api.Scopes.
type Scopes uint8

// AllScopes is every scope; ScopesAdmin is api.ScopeAdmin alone, which covers
// all others.
const (
	ScopesAdmin = Scopes(1 << 3)
	AllScopes   = Scopes(1<<4 - 1)
)

// ScopesOf returns a set. Errors: ErrTokenSpec for an empty list and for unknown
// scopes.
func ScopesOf(list []api.Scope) (Scopes, error) {
	var s Scopes
	for _, one := range list {
		i := slices.Index(api.Scopes, one)
		if i < 0 {
			return 0, ErrTokenSpec
		}
		s |= 1 << i
	}
	if s == 0 {
		return 0, ErrTokenSpec
	}
	return s, nil
}

// List returns the scopes in the order of api.Scopes.
func (s Scopes) List() []api.Scope {
	list := []api.Scope{}
	for i, one := range api.Scopes {
		if s&(1<<i) != 0 {
			list = append(list, one)
		}
	}
	return list
}

// Covers reports whether the set has a scope, or api.ScopeAdmin, which covers all
// others. Every set covers the empty scope.
func (s Scopes) Covers(one api.Scope) bool {
	list := s.List()
	return one == "" || slices.Contains(list, one) || slices.Contains(list, api.ScopeAdmin)
}
