package sqlitestore

import (
	"context"
	"database/sql"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Approve keeps an approval in place of the one before.
func (s *Store) Approve(ctx context.Context, a registry.Approval, max int, e registry.Event) error {
	return s.tx(ctx, "approve a peer", func(tx *transaction) error {
		var others int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM approvals WHERE peer <> ?`, a.Peer[:]).Scan(&others); err != nil {
			return err
		}
		if others >= max {
			return registry.ErrApprovalLimit
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO approvals (peer, expires) VALUES (?, ?) ON CONFLICT (peer) DO UPDATE SET expires = excluded.expires`,
			a.Peer[:], millis(a.Expires))
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Disapprove takes an approval back.
func (s *Store) Disapprove(ctx context.Context, id ident.PeerID, e registry.Event) error {
	return s.tx(ctx, "disapprove a peer", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM approvals WHERE peer = ?`, id[:])
		if err := oneRow(res, err, registry.ErrPeerNotFound); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Approvals returns the approvals of peers with an ID above after.
func (s *Store) Approvals(ctx context.Context, after ident.PeerID, limit int) ([]registry.Approval, error) {
	const what = "read the approvals"
	rows, err := s.read.QueryContext(ctx, `SELECT peer, expires FROM approvals WHERE peer > ? ORDER BY peer LIMIT ?`, after[:], limit)
	if err != nil {
		return nil, failed(what, err)
	}
	return collect(rows, what, func(rows *sql.Rows) (registry.Approval, error) {
		var a registry.Approval
		var peer []byte
		var expires int64
		err := rows.Scan(&peer, &expires)
		copy(a.Peer[:], peer)
		a.Expires = moment(expires)
		return a, err
	})
}
