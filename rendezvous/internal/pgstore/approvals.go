package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// Approve keeps an approval.
func (s Approvals) Approve(ctx context.Context, a peers.Approval, max int, e audit.Event) error {
	return s.db.tx(ctx, "approve a peer", func(tx pgx.Tx) error {
		if err := lockAdmin.take(ctx, tx); err != nil {
			return err
		}
		var others int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM approvals WHERE peer <> $1`,
			a.Peer[:]).Scan(&others); err != nil {
			return err
		}
		if others >= max {
			return peers.ErrApprovalLimit
		}
		_, err := tx.Exec(ctx, `INSERT INTO approvals (peer, expires) VALUES ($1, $2)
			ON CONFLICT (peer) DO UPDATE SET expires = excluded.expires`, a.Peer[:], millis(a.Expires))
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Disapprove removes an approval.
func (s Approvals) Disapprove(ctx context.Context, id ident.PeerID, e audit.Event) error {
	return s.db.tx(ctx, "disapprove a peer", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM approvals WHERE peer = $1`, id[:])
		if err := touched(tag, err, peers.ErrNotFound); err != nil {
			return err
		}
		return addEvents(ctx, tx, e)
	})
}

// Approvals returns the approvals of peers with an ID above after.
func (s Approvals) Approvals(ctx context.Context, after ident.PeerID, limit int) ([]peers.Approval, error) {
	return collect(ctx, s.db, query{
		"read the approvals", `SELECT peer, expires FROM approvals WHERE peer > $1 ORDER BY peer LIMIT $2`,
		[]any{after[:], limit},
	}, func(row pgx.CollectableRow) (peers.Approval, error) {
		var a peers.Approval
		var peer []byte
		var expires int64
		err := row.Scan(&peer, &expires)
		copy(a.Peer[:], peer)
		a.Expires = moment(expires)
		return a, err
	})
}
