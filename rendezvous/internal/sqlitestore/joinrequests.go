package sqlitestore

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// PutJoinRequests keeps join requests.
func (s JoinRequests) PutJoinRequests(ctx context.Context, requests []peers.JoinRequest, max int) error {
	const what = "keep join requests"
	if err := checkBatch(what, len(requests)); err != nil {
		return err
	}
	return s.db.tx(ctx, what, func(tx *transaction) error {
		for _, r := range requests {
			_, err := tx.ExecContext(ctx, `INSERT INTO join_requests (peer, source, at) VALUES (?, ?, ?)
				ON CONFLICT (peer) DO UPDATE SET source = excluded.source, at = excluded.at WHERE at <= excluded.at`,
				r.Peer[:], r.Source, millis(r.At))
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM join_requests
			WHERE peer IN (SELECT peer FROM join_requests ORDER BY at DESC, peer LIMIT -1 OFFSET ?)`, max)
		return err
	})
}

// JoinRequests returns the join requests that an administrator can approve.
func (s JoinRequests) JoinRequests(ctx context.Context, now time.Time, limit int) ([]peers.JoinRequest, error) {
	return collect(ctx, s.db, query{"read the join requests", `SELECT peer, source, at FROM join_requests j WHERE at > ?
		AND NOT EXISTS (SELECT 1 FROM peers p WHERE p.id = j.peer)
		AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.peer = j.peer AND a.expires > ?)
		ORDER BY at DESC, peer LIMIT ?`, []any{millis(now.Add(-peers.JoinRequestTTL)), millis(now), limit}},
		func(row scanner) (peers.JoinRequest, error) {
			var r peers.JoinRequest
			var peer []byte
			var at int64
			err := row.Scan(&peer, &r.Source, &at)
			copy(r.Peer[:], peer)
			r.At = moment(at)
			return r, err
		})
}
