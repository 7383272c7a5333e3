package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PutAdminLink keeps a link in place of the one before.
func (s *Store) PutAdminLink(ctx context.Context, l registry.AdminLink, now time.Time, again bool) (good registry.Digest, err error) {
	err = s.tx(ctx, "keep an admin link", func(tx *transaction) error {
		var waiting []byte
		var administered bool
		err := tx.QueryRowContext(ctx, `SELECT (SELECT hash FROM admin_links WHERE expires > ?1),
			EXISTS (SELECT 1 FROM admin_tokens WHERE scopes & ?2 <> 0 AND revoked = 0 AND expires > ?1)`,
			millis(now), registry.ScopesAdmin).Scan(&waiting, &administered)
		if err != nil {
			return err
		}
		if !again && (waiting != nil || administered) {
			copy(good[:], waiting)
			return nil
		}
		good = l.Hash
		if _, err := tx.ExecContext(ctx, `DELETE FROM admin_links`); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO admin_links (hash, expires) VALUES (?, ?)`, l.Hash[:], millis(l.Expires))
		return err
	})
	return good, err
}

// RedeemAdminLink uses a link up and keeps the token.
func (s *Store) RedeemAdminLink(ctx context.Context, link registry.Digest, t registry.AdminToken, e registry.Event) error {
	return s.tx(ctx, "use an admin link", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM admin_links WHERE hash = ? AND expires > ?`, link[:], millis(t.Created))
		if err := oneRow(res, err, registry.ErrAdminLink); err != nil {
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
	err = s.tx(ctx, "keep a token", func(tx *transaction) error {
		kept, err = token(tx.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = ?`, t.ID[:]))
		if !errors.Is(err, registry.ErrTokenNotFound) {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM admin_tokens WHERE session = ? AND parent = ?`, t.Session, t.Parent[:]).Scan(&n); err != nil {
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

func putToken(ctx context.Context, tx *transaction, t registry.AdminToken) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO admin_tokens (`+tokenColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.ID[:], t.Hash[:], t.Label, t.Scopes, millis(t.Created), millis(t.Expires), t.Revoked, t.Session, t.Parent[:])
	return err
}

const tokenColumns = `id, hash, label, scopes, created, expires, revoked, session, parent`

// scanner is a row, alone or of many.
type scanner interface{ Scan(into ...any) error }

func token(row scanner) (registry.AdminToken, error) {
	var t registry.AdminToken
	var id, hash, parent []byte
	var created, expires int64
	err := row.Scan(&id, &hash, &t.Label, &t.Scopes, &created, &expires, &t.Revoked, &t.Session, &parent)
	if errors.Is(err, sql.ErrNoRows) {
		err = registry.ErrTokenNotFound
	}
	copy(t.ID[:], id)
	copy(t.Hash[:], hash)
	copy(t.Parent[:], parent)
	t.Created, t.Expires = moment(created), moment(expires)
	return t, err
}

// AdminToken returns a token.
func (s *Store) AdminToken(ctx context.Context, id registry.TokenPrefix) (registry.AdminToken, error) {
	t, err := token(s.read.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = ?`, id[:]))
	return t, failed("read a token", err)
}

// AdminTokens returns a page of the tokens.
func (s *Store) AdminTokens(ctx context.Context, p registry.Page) ([]registry.AdminToken, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE (created, id) > (?, ?) ORDER BY created, id LIMIT ?`,
		millis(p.After.At), p.After.ID[:], p.Limit)
	if err != nil {
		return nil, failed("read the tokens", err)
	}
	return collect(rows, "read the tokens", func(rows *sql.Rows) (registry.AdminToken, error) { return token(rows) })
}

// RevokeAdminToken ends a token.
func (s *Store) RevokeAdminToken(ctx context.Context, id registry.TokenPrefix, e registry.Event) error {
	return s.tx(ctx, "revoke a token", func(tx *transaction) error {
		t, err := token(tx.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = ?`, id[:]))
		if err != nil || t.Revoked {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE admin_tokens SET revoked = 1 WHERE id = ?`, id[:]); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}
