package sqlitestore

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// PutAdminLink keeps a link in place of the previous one.
func (s Administration) PutAdminLink(
	ctx context.Context, l administration.Link, now time.Time, force bool,
) (valid registry.Digest, err error) {
	err = s.db.tx(ctx, "keep an admin link", func(tx *transaction) error {
		var waiting []byte
		var administered bool
		err := tx.QueryRowContext(ctx, `SELECT (SELECT hash FROM admin_links WHERE expires > ?1),
			EXISTS (SELECT 1 FROM admin_tokens WHERE scopes & ?2 <> 0 AND NOT revoked AND expires > ?1)`,
			millis(now), int(administration.ScopesAdmin)).Scan(&waiting, &administered)
		if err != nil {
			return err
		}
		if !force && (waiting != nil || administered) {
			copy(valid[:], waiting)
			return nil
		}
		valid = l.Hash
		if _, err := tx.ExecContext(ctx, `DELETE FROM admin_links`); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO admin_links (hash, expires) VALUES (?1, ?2)`,
			l.Hash[:], millis(l.Expires))
		return err
	})
	return valid, err
}

// RedeemAdminLink uses a link up and keeps the token.
func (s Administration) RedeemAdminLink(
	ctx context.Context, link registry.Digest, t administration.Token, e audit.Event,
) error {
	return s.db.tx(ctx, "use an admin link", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM admin_links WHERE hash = ?1 AND expires > ?2`,
			link[:], millis(t.Created))
		if err := touched(res, err, administration.ErrAdminLink); err != nil {
			return err
		}
		if err := insertToken(ctx, tx, t); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// PutAdminToken keeps a token.
func (s Administration) PutAdminToken(
	ctx context.Context, t administration.Token, max int, e audit.Event,
) (kept administration.Token, err error) {
	err = s.db.tx(ctx, "keep a token", func(tx *transaction) error {
		kept, err = scanToken(tx.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = ?1`,
			t.ID[:]))
		if !errors.Is(err, administration.ErrTokenNotFound) {
			return err
		}
		var n int
		err := tx.QueryRowContext(ctx, `SELECT count(*) FROM admin_tokens WHERE session = ?1 AND parent = ?2`,
			t.SignIn, t.Parent[:]).Scan(&n)
		if err != nil {
			return err
		}
		if n >= max {
			return administration.ErrTokenLimit
		}
		kept = t
		if err := insertToken(ctx, tx, t); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
	return kept, err
}

func insertToken(ctx context.Context, tx *transaction, t administration.Token) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO admin_tokens (`+tokenColumns+`) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
		?9)`,
		t.ID[:], t.Hash[:], t.Label, int(t.Scopes), millis(t.Created), millis(t.Expires), t.Revoked, t.SignIn,
		t.Parent[:])
	return err
}

const tokenColumns = `id, hash, label, scopes, created, expires, revoked, session, parent`

func scanToken(row scanner) (administration.Token, error) {
	var t administration.Token
	var id, hash, parent []byte
	var scopes int
	var created, expires int64
	err := row.Scan(&id, &hash, &t.Label, &scopes, &created, &expires, &t.Revoked, &t.SignIn, &parent)
	copy(t.ID[:], id)
	copy(t.Hash[:], hash)
	copy(t.Parent[:], parent)
	t.Scopes = administration.Scopes(scopes)
	t.Created, t.Expires = moment(created), moment(expires)
	return t, none(err, administration.ErrTokenNotFound)
}

// AdminToken returns a token.
func (s Administration) AdminToken(ctx context.Context, id registry.TokenPrefix) (administration.Token, error) {
	t, err := scanToken(s.db.read.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = ?1`,
		id[:]))
	return t, failed("read a token", err)
}

// AdminTokens returns a page of the tokens.
func (s Administration) AdminTokens(ctx context.Context, p registry.Page) ([]administration.Token, error) {
	return collect(ctx, s.db, query{
		"read the tokens",
		`SELECT ` + tokenColumns + ` FROM admin_tokens WHERE (created, id) > (?1, ?2) ORDER BY created, id LIMIT ?3`,
		[]any{millis(p.After.At), p.After.ID[:], p.Limit},
	}, func(row scanner) (administration.Token, error) { return scanToken(row) })
}

// RevokeAdminToken ends a token.
func (s Administration) RevokeAdminToken(ctx context.Context, id registry.TokenPrefix, e audit.Event) error {
	return s.db.tx(ctx, "revoke a token", func(tx *transaction) error {
		t, err := scanToken(tx.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM admin_tokens WHERE id = ?1`, id[:]))
		if err != nil || t.Revoked {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE admin_tokens SET revoked = true WHERE id = ?1`, id[:]); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}
