package administration

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// A sign-in is a browser that is signed in to the admin page. It is stored as a
// token with another mark, so that neither is accepted as the other. It is listed
// and revoked with the tokens, and has the scopes of its parent for as long as
// the parent is valid.
const (
	// SignInTTL is the time that a sign-in is valid, unless its parent ends before.
	SignInTTL  = 7 * 24 * time.Hour
	maxSignIns = 50 // of one parent
)

// SignIn signs a browser in with an administrator's token. label describes the
// browser in at most 128 printable characters. Errors: those of
// AuthenticateAdmin, ErrTokenLimit, ErrTokenSpec.
func (s *Service) SignIn(ctx context.Context, token, label string) (secret string, signIn Token, err error) {
	parent, err := s.AuthenticateAdmin(ctx, token)
	if err != nil {
		return "", signIn, err
	}
	ttl := min(SignInTTL, parent.Expires.Sub(s.cfg.Now()))
	spec := TokenSpec{Label: label, Scopes: parent.Scopes, TTL: max(ttl, time.Second)}
	secret, signIn, err = s.newToken(ctx, registry.SignInMark, spec)
	if err != nil {
		return "", signIn, err
	}
	signIn.SignIn, signIn.Parent = true, parent.ID
	e := s.signInEvent(actingAs(ctx, signIn), audit.KindSignedIn, signIn)
	_, err = s.cfg.Store.PutAdminToken(ctx, signIn, maxSignIns, e)
	return secret, signIn, err
}

// SignInWithLink signs a browser in by the one-time link, which it uses up.
// Errors: ErrAdminLink, ErrTokenSpec.
func (s *Service) SignInWithLink(ctx context.Context, code, label string) (secret string, signIn Token, err error) {
	spec := TokenSpec{Label: label, Scopes: AllScopes, TTL: SignInTTL}
	secret, signIn, err = s.newToken(ctx, registry.SignInMark, spec)
	if err != nil {
		return "", signIn, err
	}
	signIn.SignIn = true
	e := s.signInEvent(actingAs(ctx, signIn), audit.KindSignedIn, signIn)
	if err := s.redeem(ctx, code, signIn, e); err != nil {
		return "", signIn, err
	}
	return secret, signIn, nil
}

// AuthenticateSignIn returns the sign-in with a secret. Errors:
// registry.ErrUnauthenticated, also if it or its parent was revoked or has
// expired.
func (s *Service) AuthenticateSignIn(ctx context.Context, secret string) (Token, error) {
	signIn, err := s.valid(ctx, registry.SignInMark, secret)
	if err != nil || signIn.Parent == (registry.TokenPrefix{}) {
		return signIn, err
	}
	parent, err := s.cfg.Store.AdminToken(ctx, signIn.Parent)
	if err != nil {
		return Token{}, registry.Replace(err, ErrTokenNotFound, registry.ErrUnauthenticated)
	}
	if !s.unexpired(parent) {
		return Token{}, registry.ErrUnauthenticated
	}
	return signIn, nil
}

// SignOut signs a browser out. Signing it out again is not an error.
func (s *Service) SignOut(ctx context.Context, signIn Token) error {
	err := s.cfg.Store.RevokeAdminToken(ctx, signIn.ID, s.signInEvent(ctx, audit.KindSignedOut, signIn))
	if errors.Is(err, ErrTokenNotFound) {
		return nil
	}
	return err
}

func (s *Service) signInEvent(ctx context.Context, kind audit.Kind, signIn Token) audit.Event {
	e := audit.NewEvent(ctx, s.cfg.Now(), kind)
	e.Detail = audit.Detail(signIn.ID.String(), signIn.Label)
	return e
}
