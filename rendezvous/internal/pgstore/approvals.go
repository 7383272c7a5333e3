package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Approve keeps an approval in place of the one before.
func (s *Store) Approve(ctx context.Context, a registry.Approval, max int, e registry.Event) error {
	return s.tx(ctx, "approve a peer", func(tx pgx.Tx) error {
		if err := lockAdmin.take(ctx, tx); err != nil {
			return err
		}
		var others int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM approvals WHERE peer <> $1`, a.Peer[:]).Scan(&others); err != nil {
			return err
		}
		if others >= max {
			return registry.ErrApprovalLimit
		}
		_, err := tx.Exec(ctx, `INSERT INTO approvals (peer, expires) VALUES ($1, $2) ON CONFLICT (peer) DO UPDATE SET expires = excluded.expires`,
			a.Peer[:], millis(a.Expires))
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Disapprove takes an approval back.
func (s *Store) Disapprove(ctx context.Context, id ident.PeerID, e registry.Event) error {
	return s.tx(ctx, "disapprove a peer", func(tx pgx.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM approvals WHERE peer = $1`, id[:])
		if err := touched(res, err, registry.ErrPeerNotFound); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Approvals returns the approvals of peers with an ID above after.
func (s *Store) Approvals(ctx context.Context, after ident.PeerID, limit int) ([]registry.Approval, error) {
	const query = `SELECT peer, expires FROM approvals WHERE peer > $1 ORDER BY peer LIMIT $2`
	return collect(ctx, s, "read the approvals", func(row pgx.CollectableRow) (registry.Approval, error) {
		var a registry.Approval
		var peer []byte
		var expires int64
		err := row.Scan(&peer, &expires)
		copy(a.Peer[:], peer)
		a.Expires = moment(expires)
		return a, err
	}, query, after[:], limit)
}
