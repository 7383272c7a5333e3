package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PutInvite keeps an invite.
func (s *Store) PutInvite(ctx context.Context, i registry.Invite, e registry.Event) (kept registry.Invite, err error) {
	err = s.tx(ctx, "keep an invite", func(tx *transaction) error {
		kept, err = invite(tx.QueryRowContext(ctx, `SELECT `+inviteColumns+` FROM invites WHERE hash = ?`, i.Hash[:]))
		if !errors.Is(err, registry.ErrInviteNotFound) {
			return err
		}
		kept = i
		uses := sql.NullInt64{Int64: int64(i.Uses), Valid: !i.Unlimited}
		_, err := tx.ExecContext(ctx, `INSERT INTO invites (hash, label, uses, used, created, expires, revoked) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			i.Hash[:], i.Label, uses, i.Used, millis(i.Created), millis(i.Expires), i.Revoked)
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
	return kept, err
}

const inviteColumns = `hash, label, uses, used, created, expires, revoked`

func invite(row scanner) (registry.Invite, error) {
	var i registry.Invite
	var hash []byte
	var uses sql.NullInt64
	var created, expires int64
	err := row.Scan(&hash, &i.Label, &uses, &i.Used, &created, &expires, &i.Revoked)
	if errors.Is(err, sql.ErrNoRows) {
		err = registry.ErrInviteNotFound
	}
	copy(i.Hash[:], hash)
	i.Uses, i.Unlimited = int(uses.Int64), !uses.Valid
	i.Created, i.Expires = moment(created), moment(expires)
	return i, err
}

// Invite returns an invite.
func (s *Store) Invite(ctx context.Context, id registry.InviteID) (registry.Invite, error) {
	first, last := id.Range()
	i, err := invite(s.read.QueryRowContext(ctx, `SELECT `+inviteColumns+` FROM invites WHERE hash BETWEEN ? AND ?`, first[:], last[:]))
	return i, failed("read an invite", err)
}

// Invites returns a page of the invites.
func (s *Store) Invites(ctx context.Context, p registry.Page) ([]registry.Invite, error) {
	_, last := registry.InviteID(p.After.ID).Range()
	rows, err := s.read.QueryContext(ctx, `SELECT `+inviteColumns+` FROM invites WHERE (created, hash) > (?, ?) ORDER BY created, hash LIMIT ?`,
		millis(p.After.At), last[:], p.Limit)
	if err != nil {
		return nil, failed("read the invites", err)
	}
	return collect(rows, "read the invites", func(rows *sql.Rows) (registry.Invite, error) { return invite(rows) })
}

// RevokeInvite ends an invite.
func (s *Store) RevokeInvite(ctx context.Context, id registry.InviteID, e registry.Event) error {
	return s.tx(ctx, "revoke an invite", func(tx *transaction) error {
		first, last := id.Range()
		i, err := invite(tx.QueryRowContext(ctx, `SELECT `+inviteColumns+` FROM invites WHERE hash BETWEEN ? AND ?`, first[:], last[:]))
		if err != nil || i.Revoked {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE invites SET revoked = 1 WHERE hash = ?`, i.Hash[:]); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}
