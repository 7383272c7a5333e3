package registry

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Scopes is a set of scopes, a bit for each in the order of api.Scopes.
type Scopes uint8

// AllScopes is every scope; ScopesAdmin is api.ScopeAdmin alone, which covers
// as much.
const (
	ScopesAdmin = Scopes(1 << 3)
	AllScopes   = Scopes(1<<4 - 1)
)

// ScopesOf makes a set. Errors: ErrTokenSpec for none and for unknown ones.
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

// List is the set in the order of api.Scopes.
func (s Scopes) List() []api.Scope {
	list := []api.Scope{}
	for i, one := range api.Scopes {
		if s&(1<<i) != 0 {
			list = append(list, one)
		}
	}
	return list
}

// Covers reports whether the set has a scope, or api.ScopeAdmin, which has all.
// The empty scope is in every set.
func (s Scopes) Covers(one api.Scope) bool {
	list := s.List()
	return one == "" || slices.Contains(list, one) || slices.Contains(list, api.ScopeAdmin)
}

// An administrator's token is made as a peer's is, behind another mark.
const adminMark = "efa_"

const (
	maxAdminTokens  = 1000
	defaultTokenTTL = 90 * 24 * time.Hour
	adminLinkTTL    = 24 * time.Hour
)

// AdminLink returns the code of a fresh one-time link, good for a day, in place
// of the one before. Unless again, it does so only if nobody administers the
// server and no link is waiting to be used; then it returns the one before if
// that is waiting still, or else "".
func (r *Registry) AdminLink(ctx context.Context, before string, again bool) (code string, err error) {
	var raw [16]byte
	if _, err := io.ReadFull(r.cfg.Random, raw[:]); err != nil {
		return "", fmt.Errorf("new admin link: %w", err)
	}
	fresh := base64.RawURLEncoding.EncodeToString(raw[:])
	now := r.cfg.Now()
	good, err := r.cfg.Store.PutAdminLink(ctx, AdminLink{Hash: linkDigest(fresh), Expires: now.Add(adminLinkTTL)}, now, again)
	if err != nil {
		return "", err
	}
	for _, code := range []string{fresh, before} {
		if good == linkDigest(code) {
			return code, nil
		}
	}
	return "", nil
}

func linkDigest(code string) Digest { return sha256.Sum256([]byte("admin link " + code)) }

// RedeemAdminLink trades a link's code for a token that covers everything, for
// a year. Errors: ErrAdminLink, ErrTokenSpec.
func (r *Registry) RedeemAdminLink(ctx context.Context, code, label string) (token string, t AdminToken, err error) {
	token, t, err = r.newAdminToken(ctx, TokenSpec{Label: label, Scopes: AllScopes, TTL: api.MaxTokenTTL})
	if err != nil {
		return "", t, err
	}
	by := WithOrigin(ctx, Origin{Actor: t.Actor(), Source: originOf(ctx).Source})
	if err := r.cfg.Store.RedeemAdminLink(ctx, linkDigest(code), t, r.tokenEvent(by, EventTokenCreated, t)); err != nil {
		r.Refused(ctx, "use an admin link", ident.PeerID{}, err)
		return "", t, err
	}
	return token, t, nil
}

// TokenSpec is what a token shall be.
type TokenSpec struct {
	Label  string // whose, at most 128 printable characters
	Scopes Scopes
	TTL    time.Duration // at most a year; 0 is 90 days
	// Key makes the request repeatable: the same key by the same actor is the
	// same token. "" is a new one each time.
	Key string
}

// CreateToken makes a token for an administrator, of which only the digest is
// kept. Errors: ErrTokenSpec, ErrTokenLimit, ErrIdempotency.
func (r *Registry) CreateToken(ctx context.Context, s TokenSpec) (token string, t AdminToken, err error) {
	token, t, err = r.newAdminToken(ctx, s)
	if err != nil {
		return "", t, err
	}
	kept, err := r.cfg.Store.PutAdminToken(ctx, t, maxAdminTokens, r.tokenEvent(ctx, EventTokenCreated, t))
	if err != nil {
		return "", t, err
	}
	if kept.Label != t.Label || kept.Scopes != t.Scopes || kept.Expires.Sub(kept.Created) != t.Expires.Sub(t.Created) {
		return "", t, ErrIdempotency
	}
	return token, kept, nil
}

func (r *Registry) newAdminToken(ctx context.Context, s TokenSpec) (token string, t AdminToken, err error) {
	return r.newMarked(ctx, adminMark, s)
}

// newMarked makes a token behind a mark.
func (r *Registry) newMarked(ctx context.Context, mark string, s TokenSpec) (token string, t AdminToken, err error) {
	if s.TTL == 0 {
		s.TTL = defaultTokenTTL
	}
	if !plain(s.Label) || s.Scopes == 0 || s.TTL < time.Second || s.TTL > api.MaxTokenTTL {
		return "", t, ErrTokenSpec
	}
	var raw [len(t.ID) + tokenSecret]byte
	if err := r.draw(ctx, "token", s.Key, raw[:]); err != nil {
		return "", t, fmt.Errorf("new token: %w", err)
	}
	copy(t.ID[:], raw[:])
	token = mark + base64.RawURLEncoding.EncodeToString(raw[:])
	now := r.cfg.Now()
	t.Hash, t.Label, t.Scopes, t.Created, t.Expires = sha256.Sum256([]byte(token)), s.Label, s.Scopes, now, now.Add(s.TTL)
	return token, t, nil
}

// plain reports whether a label is one line of at most api.MaxLabel printable
// characters.
func plain(label string) bool {
	return utf8.ValidString(label) && utf8.RuneCountInString(label) <= api.MaxLabel &&
		!strings.ContainsFunc(label, func(c rune) bool { return !unicode.IsPrint(c) })
}

// draw fills raw at random; with a key, from what only this rendezvous can
// compute of the key, so that a repeated request has the same result although
// no secret is kept.
func (r *Registry) draw(ctx context.Context, purpose, key string, raw []byte) error {
	if key == "" {
		_, err := io.ReadFull(r.cfg.Random, raw)
		return err
	}
	secret, err := r.secret(ctx, "idempotency")
	if err != nil {
		return err
	}
	mac := hmac.New(sha512.New, secret)
	for _, part := range []string{purpose, originOf(ctx).Actor, key} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	copy(raw, mac.Sum(nil))
	return nil
}

// AuthenticateAdmin returns the administrator's token that a text is. Errors:
// ErrUnauthenticated, also for one that is revoked or has expired;
// ErrNotAdmin for the token of a peer.
func (r *Registry) AuthenticateAdmin(ctx context.Context, token string) (AdminToken, error) {
	t, err := r.authenticateAdmin(ctx, token)
	if err != nil && token != "" {
		r.Refused(ctx, "administer", ident.PeerID{}, err)
	}
	return t, err
}

func (r *Registry) authenticateAdmin(ctx context.Context, token string) (AdminToken, error) {
	if strings.HasPrefix(token, tokenMark) {
		if _, err := r.Authenticate(ctx, token); err != nil {
			return AdminToken{}, err
		}
		return AdminToken{}, ErrNotAdmin
	}
	return r.goodToken(ctx, token, adminMark)
}

// Token returns an administrator's token. Errors: ErrTokenNotFound.
func (r *Registry) Token(ctx context.Context, id TokenPrefix) (AdminToken, error) {
	return r.cfg.Store.AdminToken(ctx, id)
}

// Tokens returns a page of the administrators' tokens, oldest first.
func (r *Registry) Tokens(ctx context.Context, p Page) ([]AdminToken, error) {
	return r.cfg.Store.AdminTokens(ctx, p)
}

// RevokeToken ends a token at once. Twice is fine. Errors: ErrTokenNotFound.
func (r *Registry) RevokeToken(ctx context.Context, id TokenPrefix) error {
	e := r.event(ctx, EventTokenRevoked)
	e.Detail = id.String()
	return r.cfg.Store.RevokeAdminToken(ctx, id, e)
}

func (r *Registry) tokenEvent(ctx context.Context, kind EventKind, t AdminToken) Event {
	e := r.event(ctx, kind)
	e.Detail = detail(t.ID.String(), fmt.Sprint(t.Scopes.List()), t.Label)
	return e
}

// Place is the token's place in the list.
func (t AdminToken) Place() Cursor { return Cursor{At: t.Created, ID: t.ID} }

// String is the prefix as people see it.
func (p TokenPrefix) String() string { return hex.EncodeToString(p[:]) }
