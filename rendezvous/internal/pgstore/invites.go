package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PutInvite keeps an invite.
func (s *Store) PutInvite(ctx context.Context, i registry.Invite, e registry.Event) (kept registry.Invite, err error) {
	var uses *int
	if !i.Unlimited {
		uses = &i.Uses
	}
	err = s.tx(ctx, "keep an invite", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO invites (hash, label, uses, used, created, expires, revoked)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`, i.Hash[:], i.Label, uses, i.Used, millis(i.Created), millis(i.Expires), i.Revoked)
		if err != nil {
			return err
		}
		if tag.RowsAffected() > 0 {
			kept = i
			return addEvents(ctx, tx, e)
		}
		kept, err = invite(tx.QueryRow(ctx, `SELECT `+inviteColumns+` FROM invites WHERE hash = $1`, i.Hash[:]))
		return err
	})
	return kept, err
}

const inviteColumns = `hash, label, uses, used, created, expires, revoked`

func invite(row pgx.Row) (registry.Invite, error) {
	var i registry.Invite
	var hash []byte
	var uses *int
	var created, expires int64
	err := row.Scan(&hash, &i.Label, &uses, &i.Used, &created, &expires, &i.Revoked)
	copy(i.Hash[:], hash)
	if i.Unlimited = uses == nil; uses != nil {
		i.Uses = *uses
	}
	i.Created, i.Expires = moment(created), moment(expires)
	return i, none(err, registry.ErrInviteNotFound)
}

// Invite returns an invite.
func (s *Store) Invite(ctx context.Context, id registry.InviteID) (registry.Invite, error) {
	first, last := id.Range()
	i, err := invite(s.pool.QueryRow(ctx, `SELECT `+inviteColumns+` FROM invites WHERE hash BETWEEN $1 AND $2`, first[:], last[:]))
	return i, s.failed("read an invite", err)
}

// Invites returns a page of the invites.
func (s *Store) Invites(ctx context.Context, p registry.Page) ([]registry.Invite, error) {
	_, last := registry.InviteID(p.After.ID).Range()
	const query = `SELECT ` + inviteColumns + ` FROM invites WHERE (created, hash) > ($1, $2) ORDER BY created, hash LIMIT $3`
	return collect(ctx, s, "read the invites", func(row pgx.CollectableRow) (registry.Invite, error) { return invite(row) },
		query, millis(p.After.At), last[:], p.Limit)
}

// RevokeInvite ends an invite.
func (s *Store) RevokeInvite(ctx context.Context, id registry.InviteID, e registry.Event) error {
	return s.tx(ctx, "revoke an invite", func(tx pgx.Tx) error {
		first, last := id.Range()
		i, err := invite(tx.QueryRow(ctx, `SELECT `+inviteColumns+` FROM invites WHERE hash BETWEEN $1 AND $2 FOR UPDATE`, first[:], last[:]))
		if err != nil || i.Revoked {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE invites SET revoked = true WHERE hash = $1`, i.Hash[:]); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}
