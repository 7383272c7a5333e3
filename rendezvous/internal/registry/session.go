package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// A session is a browser that is signed in. It is kept as an administrator's
// token is, behind another mark, so that neither passes for the other: it is
// listed and revoked with the tokens, and covers what its parent covers for as
// long as that is good.
const (
	sessionMark = "efs_"
	// SessionTTL is how long one is good, unless its parent ends before.
	SessionTTL  = 7 * 24 * time.Hour
	maxSessions = 50 // of one parent
)

// OpenSession signs a browser in with an administrator's token. label says which
// browser, at most 128 printable characters. Errors: as AuthenticateAdmin;
// ErrTokenLimit, ErrTokenSpec.
func (r *Registry) OpenSession(ctx context.Context, token, label string) (secret string, session AdminToken, err error) {
	parent, err := r.AuthenticateAdmin(ctx, token)
	if err != nil {
		return "", session, err
	}
	ttl := min(SessionTTL, parent.Expires.Sub(r.cfg.Now()))
	secret, session, err = r.newMarked(ctx, sessionMark, TokenSpec{Label: label, Scopes: parent.Scopes, TTL: max(ttl, time.Second)})
	if err != nil {
		return "", session, err
	}
	session.Session, session.Parent = true, parent.ID
	ctx = WithOrigin(ctx, Origin{Actor: session.Actor(), Source: originOf(ctx).Source})
	_, err = r.cfg.Store.PutAdminToken(ctx, session, maxSessions, r.sessionEvent(ctx, EventSignedIn, session))
	return secret, session, err
}

// OpenSessionWithLink signs a browser in by the one-time link, which it uses up.
// Errors: ErrAdminLink, ErrTokenSpec.
func (r *Registry) OpenSessionWithLink(ctx context.Context, code, label string) (secret string, session AdminToken, err error) {
	secret, session, err = r.newMarked(ctx, sessionMark, TokenSpec{Label: label, Scopes: AllScopes, TTL: SessionTTL})
	if err != nil {
		return "", session, err
	}
	session.Session = true
	by := WithOrigin(ctx, Origin{Actor: session.Actor(), Source: originOf(ctx).Source})
	if err := r.cfg.Store.RedeemAdminLink(ctx, linkDigest(code), session, r.sessionEvent(by, EventSignedIn, session)); err != nil {
		r.Refused(ctx, "use an admin link", ident.PeerID{}, err)
		return "", session, err
	}
	return secret, session, nil
}

// Session returns the session that a secret is. Errors: ErrUnauthenticated, also
// once it or its parent was revoked or has expired.
func (r *Registry) Session(ctx context.Context, secret string) (AdminToken, error) {
	session, err := r.goodToken(ctx, secret, sessionMark)
	if err != nil || session.Parent == (TokenPrefix{}) {
		return session, err
	}
	parent, err := r.cfg.Store.AdminToken(ctx, session.Parent)
	if err != nil {
		return AdminToken{}, as(err, ErrTokenNotFound, ErrUnauthenticated)
	}
	if !r.good(parent) {
		return AdminToken{}, ErrUnauthenticated
	}
	return session, nil
}

// CloseSession signs a browser out. Twice is fine.
func (r *Registry) CloseSession(ctx context.Context, session AdminToken) error {
	err := r.cfg.Store.RevokeAdminToken(ctx, session.ID, r.sessionEvent(ctx, EventSignedOut, session))
	if errors.Is(err, ErrTokenNotFound) {
		return nil
	}
	return err
}

func (r *Registry) sessionEvent(ctx context.Context, kind EventKind, session AdminToken) Event {
	e := r.event(ctx, kind)
	e.Detail = detail(session.ID.String(), session.Label)
	return e
}

// goodToken returns the token behind a mark that a text is. Errors:
// ErrUnauthenticated.
func (r *Registry) goodToken(ctx context.Context, text, mark string) (AdminToken, error) {
	prefix, err := prefixOf(text, mark)
	if err != nil {
		return AdminToken{}, err
	}
	t, err := r.cfg.Store.AdminToken(ctx, prefix)
	if err != nil {
		return AdminToken{}, as(err, ErrTokenNotFound, ErrUnauthenticated)
	}
	hash := sha256.Sum256([]byte(text))
	if !ident.Equal(hash[:], t.Hash[:]) || !r.good(t) {
		return AdminToken{}, ErrUnauthenticated
	}
	return t, nil
}

// good reports whether a token's time is not over.
func (r *Registry) good(t AdminToken) bool { return !t.Revoked && r.cfg.Now().Before(t.Expires) }

// Actor is who does what is done with the token, as the audit log has it: a
// session's parent, where it has one.
func (t AdminToken) Actor() string {
	if t.Parent != (TokenPrefix{}) {
		return "admin " + t.Parent.String()
	}
	return "admin " + t.ID.String()
}
