package pgstore

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// PutJoinRequests keeps join requests.
func (s JoinRequests) PutJoinRequests(ctx context.Context, requests []peers.JoinRequest, max int) error {
	const what = "keep join requests"
	if err := checkBatch(what, len(requests)); err != nil {
		return err
	}
	sorted := slices.Clone(requests) // in order, so that two instances cannot deadlock
	slices.SortStableFunc(sorted, func(a, b peers.JoinRequest) int { return a.Peer.Compare(b.Peer) })
	return s.db.tx(ctx, what, func(tx pgx.Tx) error {
		var b pgx.Batch
		for _, r := range sorted {
			b.Queue(`INSERT INTO join_requests AS j (peer, source, at) VALUES ($1, $2, $3)
				ON CONFLICT (peer) DO UPDATE SET source = excluded.source, at = excluded.at WHERE j.at <= excluded.at`,
				r.Peer[:], r.Source, millis(r.At))
		}
		b.Queue(`DELETE FROM join_requests
			WHERE peer IN (SELECT peer FROM join_requests ORDER BY at DESC, peer OFFSET $1)`, max)
		return tx.SendBatch(ctx, &b).Close()
	})
}

// JoinRequests returns the join requests that an administrator can approve.
func (s JoinRequests) JoinRequests(ctx context.Context, now time.Time, limit int) ([]peers.JoinRequest, error) {
	return collect(ctx, s.db, query{"read the join requests", `SELECT peer, source, at FROM join_requests j
		WHERE at > $1
		AND NOT EXISTS (SELECT 1 FROM peers p WHERE p.id = j.peer)
		AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.peer = j.peer AND a.expires > $2)
		ORDER BY at DESC, peer LIMIT $3`, []any{millis(now.Add(-peers.JoinRequestTTL)), millis(now), limit}},
		func(row pgx.CollectableRow) (peers.JoinRequest, error) {
			var r peers.JoinRequest
			var peer []byte
			var at int64
			err := row.Scan(&peer, &r.Source, &at)
			copy(r.Peer[:], peer)
			r.At = moment(at)
			return r, err
		})
}
