package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// lock is the key of an advisory lock: one transaction at a time does what it
// stands for.
type lock int64

const (
	lockAdmin       lock = 0x65661 // count and add administrators' tokens and links
	lockRevocations lock = 0x65662 // revoke, so that numbers are given in the order of commits
)

func (l lock) take(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(l))
	return err
}

// PutAdminLink keeps a link in place of the one before.
func (s *Store) PutAdminLink(ctx context.Context, l registry.AdminLink, now time.Time, again bool) (good registry.Digest, err error) {
	err = s.tx(ctx, "keep an admin link", func(tx pgx.Tx) error {
		if err := lockAdmin.take(ctx, tx); err != nil {
			return err
		}
		var waiting []byte
		var administered bool
		err := tx.QueryRow(ctx, `SELECT (SELECT hash FROM admin_links WHERE expires > $1),
			EXISTS (SELECT 1 FROM admin_tokens WHERE scopes & $2 <> 0 AND NOT revoked AND expires > $1)`,
			millis(now), int(registry.ScopesAdmin)).Scan(&waiting, &administered)
		if err != nil {
			return err
		}
		if !again && (waiting != nil || administered) {
			copy(good[:], waiting)
			return nil
		}
		good = l.Hash
		if _, err := tx.Exec(ctx, `DELETE FROM admin_links`); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO admin_links (hash, expires) VALUES ($1, $2)`, l.Hash[:], millis(l.Expires))
		return err
	})
	return good, err
}

// RedeemAdminLink uses a link up and keeps the token.
func (s *Store) RedeemAdminLink(ctx context.Context, link registry.Digest, t registry.AdminToken, e registry.Event) error {
	return s.tx(ctx, "use an admin link", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM admin_links WHERE hash = $1 AND expires > $2`, link[:], millis(t.Created))
		if err := touched(tag, err, registry.ErrAdminLink); err != nil {
			return err
		}
		if err := putToken(ctx, tx, t); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// PutAdminToken keeps a token.
func (s *Store) PutAdminToken(ctx context.Context, t registry.AdminToken, max int, e registry.Event) (kept registry.AdminToken, err error) {
	err = s.tx(ctx, "keep a token", func(tx pgx.Tx) error {
		if err := lockAdmin.take(ctx, tx); err != nil {
			return err
		}
		kept, err = token(tx.QueryRow(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = $1`, t.ID[:]))
		if !errors.Is(err, registry.ErrTokenNotFound) {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM admin_tokens WHERE session = $1 AND parent = $2`, t.Session, t.Parent[:]).Scan(&n); err != nil {
			return err
		}
		if n >= max {
			return registry.ErrTokenLimit
		}
		kept = t
		if err := putToken(ctx, tx, t); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
	return kept, err
}

func putToken(ctx context.Context, tx pgx.Tx, t registry.AdminToken) error {
	_, err := tx.Exec(ctx, `INSERT INTO admin_tokens (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		t.ID[:], t.Hash[:], t.Label, int(t.Scopes), millis(t.Created), millis(t.Expires), t.Revoked, t.Session, t.Parent[:])
	return err
}

const tokenColumns = `id, hash, label, scopes, created, expires, revoked, session, parent`

func token(row pgx.Row) (registry.AdminToken, error) {
	var t registry.AdminToken
	var id, hash, parent []byte
	var scopes int
	var created, expires int64
	err := row.Scan(&id, &hash, &t.Label, &scopes, &created, &expires, &t.Revoked, &t.Session, &parent)
	copy(t.ID[:], id)
	copy(t.Hash[:], hash)
	copy(t.Parent[:], parent)
	t.Scopes = registry.Scopes(scopes)
	t.Created, t.Expires = moment(created), moment(expires)
	return t, none(err, registry.ErrTokenNotFound)
}

// AdminToken returns a token.
func (s *Store) AdminToken(ctx context.Context, id registry.TokenPrefix) (registry.AdminToken, error) {
	t, err := token(s.pool.QueryRow(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = $1`, id[:]))
	return t, s.failed("read a token", err)
}

// AdminTokens returns a page of the tokens.
func (s *Store) AdminTokens(ctx context.Context, p registry.Page) ([]registry.AdminToken, error) {
	const query = `SELECT ` + tokenColumns + ` FROM admin_tokens WHERE (created, id) > ($1, $2) ORDER BY created, id LIMIT $3`
	return collect(ctx, s, "read the tokens", func(row pgx.CollectableRow) (registry.AdminToken, error) { return token(row) },
		query, millis(p.After.At), p.After.ID[:], p.Limit)
}

// RevokeAdminToken ends a token.
func (s *Store) RevokeAdminToken(ctx context.Context, id registry.TokenPrefix, e registry.Event) error {
	return s.tx(ctx, "revoke a token", func(tx pgx.Tx) error {
		t, err := token(tx.QueryRow(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = $1 FOR UPDATE`, id[:]))
		if err != nil || t.Revoked {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE admin_tokens SET revoked = true WHERE id = $1`, id[:]); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}
