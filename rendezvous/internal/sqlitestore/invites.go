package sqlitestore

import (
	"context"
	"database/sql"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// PutInvite keeps an invite.
func (s Invites) PutInvite(ctx context.Context, i peers.Invite, e audit.Event) (kept peers.Invite, err error) {
	uses := sql.NullInt64{Int64: int64(i.Uses), Valid: !i.Unlimited}
	err = s.db.tx(ctx, "keep an invite", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO invites (`+inviteColumns+`) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
			ON CONFLICT DO NOTHING`, i.Hash[:], i.Label, uses, i.Used, millis(i.Created), millis(i.Expires), i.Revoked)
		if err != nil {
			return err
		}
		added, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if added > 0 {
			kept = i
			return addEvents(ctx, tx, e)
		}
		kept, err = scanInvite(tx.QueryRowContext(ctx, `SELECT `+inviteColumns+` FROM invites WHERE hash = ?1`,
			i.Hash[:]))
		return err
	})
	return kept, err
}

const inviteColumns = `hash, label, uses, used, created, expires, revoked`

func scanInvite(row scanner) (peers.Invite, error) {
	var i peers.Invite
	var hash []byte
	var uses sql.NullInt64
	var created, expires int64
	err := row.Scan(&hash, &i.Label, &uses, &i.Used, &created, &expires, &i.Revoked)
	copy(i.Hash[:], hash)
	i.Uses, i.Unlimited = int(uses.Int64), !uses.Valid
	i.Created, i.Expires = moment(created), moment(expires)
	return i, none(err, peers.ErrInviteNotFound)
}

const inviteByID = `SELECT ` + inviteColumns + ` FROM invites WHERE hash BETWEEN ?1 AND ?2`

// Invite returns an invite.
func (s Invites) Invite(ctx context.Context, id peers.InviteID) (peers.Invite, error) {
	first, last := id.Range()
	i, err := scanInvite(s.db.read.QueryRowContext(ctx, inviteByID, first[:], last[:]))
	return i, failed("read an invite", err)
}

// Invites returns a page of the invites.
func (s Invites) Invites(ctx context.Context, p registry.Page) ([]peers.Invite, error) {
	_, last := peers.InviteID(p.After.ID).Range()
	return collect(ctx, s.db, query{
		"read the invites",
		`SELECT ` + inviteColumns + ` FROM invites WHERE (created, hash) > (?1, ?2) ORDER BY created, hash LIMIT ?3`,
		[]any{millis(p.After.At), last[:], p.Limit},
	}, func(row scanner) (peers.Invite, error) { return scanInvite(row) })
}

// RevokeInvite ends an invite.
func (s Invites) RevokeInvite(ctx context.Context, id peers.InviteID, e audit.Event) error {
	return s.db.tx(ctx, "revoke an invite", func(tx *transaction) error {
		first, last := id.Range()
		i, err := scanInvite(tx.QueryRowContext(ctx, inviteByID+``, first[:], last[:]))
		if err != nil || i.Revoked {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE invites SET revoked = true WHERE hash = ?1`, i.Hash[:]); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}
