package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// holding begins a statement that has an effect only if the holder has its lease.
const holding = `WITH holder AS (
			SELECT 1 FROM instances WHERE name = $1 AND epoch = $2 AND lease_until > greatest($3, ` + clock + `)
		)`

// PutPresence records connections to the holder. It does not touch rows that are
// up to date.
func (s Presence) PutPresence(
	ctx context.Context, h presence.Holder, now time.Time, peers []presence.Connection,
) (replaced []presence.Replacement, err error) {
	const what = "write presence"
	if err := checkBatch(what, len(peers)); err != nil {
		return nil, err
	}
	ids, since := columns(peers)
	held := false
	err = each(ctx, s.db, query{
		what, holding + `, older AS (
			SELECT u.peer, u.since, i.name FROM unnest($4::bytea[], $5::bigint[]) AS u (peer, since)
			JOIN presence p ON p.peer = u.peer AND p.since < u.since
			JOIN instances i ON i.epoch = p.epoch AND i.epoch <> $2 AND i.lease_until > $3, holder
		), written AS (
			INSERT INTO presence AS p (peer, epoch, since)
			SELECT u.peer, $2, u.since FROM unnest($4::bytea[], $5::bigint[]) AS u (peer, since), holder
			ON CONFLICT (peer) DO UPDATE SET epoch = excluded.epoch, since = excluded.since
			WHERE p.since < excluded.since OR (p.since = excluded.since AND p.epoch < excluded.epoch)
				OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.epoch = p.epoch AND i.lease_until > $3)
		)
		SELECT h.held, o.peer, o.since, o.name FROM (SELECT EXISTS (SELECT 1 FROM holder) AS held) h
		LEFT JOIN older o ON true`,
		[]any{h.Instance, h.Epoch, millis(now), ids, since},
	}, func(row pgx.CollectableRow) error {
		var peer []byte
		var since *int64
		var at *string
		err := row.Scan(&held, &peer, &since, &at)
		if err == nil && since != nil && at != nil && len(peer) == len(ident.PeerID{}) {
			c := presence.Connection{Peer: ident.PeerID(peer), Since: moment(*since)}
			replaced = append(replaced, presence.Replacement{Connection: c, Instance: *at})
		}
		return err
	})
	if err == nil && !held {
		err = presence.ErrFenced
	}
	return replaced, err
}

// RemovePresence records that connections have ended.
func (s Presence) RemovePresence(
	ctx context.Context, h presence.Holder, now time.Time, peers []presence.Connection,
) error {
	const what = "remove presence"
	if err := checkBatch(what, len(peers)); err != nil {
		return err
	}
	ids, since := columns(peers)
	held := false
	err := s.db.pool.QueryRow(ctx, holding+`, gone AS (
			DELETE FROM presence p USING unnest($4::bytea[], $5::bigint[]) AS u (peer, since), holder
			WHERE p.peer = u.peer AND p.epoch = $2 AND p.since <= u.since
			RETURNING p.peer
		), seen AS (
			INSERT INTO last_seen AS l (peer, at) SELECT peer, $3 FROM gone ORDER BY peer
			ON CONFLICT (peer) DO UPDATE SET at = greatest(l.at, excluded.at)
		)
		SELECT EXISTS (SELECT 1 FROM holder)`, h.Instance, h.Epoch, millis(now), ids, since).Scan(&held)
	if err == nil && !held {
		err = presence.ErrFenced
	}
	return s.db.failed(what, err)
}

// checkBatch refuses a batch beyond the bound.
func checkBatch(what string, n int) error {
	if n > registry.MaxBatch {
		return fmt.Errorf("%s: %d at once, at most %d", what, n, registry.MaxBatch)
	}
	return nil
}

// columns returns peers as arrays for unnest. Each peer occurs once, with its
// newest connection, since one statement must not touch a row twice. The peers
// are in order, so that two instances that write the same rows cannot deadlock.
func columns(peers []presence.Connection) (ids [][]byte, since []int64) {
	sorted := slices.Clone(peers)
	slices.SortFunc(sorted, func(a, b presence.Connection) int {
		if by := a.Peer.Compare(b.Peer); by != 0 {
			return by
		}
		return b.Since.Compare(a.Since)
	})
	sorted = slices.CompactFunc(sorted, func(a, b presence.Connection) bool { return a.Peer == b.Peer })
	for i := range sorted {
		ids = append(ids, sorted[i].Peer[:])
		since = append(since, millis(sorted[i].Since))
	}
	return ids, since
}

// LocatePeers returns where peers are connected.
func (s Presence) LocatePeers(
	ctx context.Context, ids []ident.PeerID, now time.Time,
) (map[ident.PeerID]presence.Location, error) {
	const what = "locate peers"
	if err := checkBatch(what, len(ids)); err != nil {
		return nil, err
	}
	at := make(map[ident.PeerID]presence.Location, len(ids))
	err := each(ctx, s.db, query{what, `SELECT p.peer, i.name, i.epoch, p.since FROM presence p JOIN instances i
		ON i.epoch = p.epoch
		WHERE p.peer = ANY($1) AND i.lease_until > greatest($2, ` + clock + `)`, []any{rawIDs(ids), millis(now)}},
		func(row pgx.CollectableRow) error {
			var peer []byte
			var l presence.Location
			var since int64
			err := row.Scan(&peer, &l.Instance, &l.Epoch, &since)
			if err == nil && len(peer) == len(ident.PeerID{}) {
				l.Since = moment(since)
				at[ident.PeerID(peer)] = l
			}
			return err
		})
	if err != nil {
		return nil, err
	}
	return at, nil
}

// LastSeen returns when the last connection of each peer ended.
func (s Presence) LastSeen(ctx context.Context, ids []ident.PeerID) (map[ident.PeerID]time.Time, error) {
	const what = "read when peers were last seen"
	if err := checkBatch(what, len(ids)); err != nil {
		return nil, err
	}
	seen := make(map[ident.PeerID]time.Time, len(ids))
	err := each(ctx, s.db, query{what, `SELECT peer, at FROM last_seen WHERE peer = ANY($1)`, []any{rawIDs(ids)}},
		func(row pgx.CollectableRow) error {
			var peer []byte
			var at int64
			err := row.Scan(&peer, &at)
			if err == nil && len(peer) == len(ident.PeerID{}) {
				seen[ident.PeerID(peer)] = moment(at)
			}
			return err
		})
	if err != nil {
		return nil, err
	}
	return seen, nil
}

func rawIDs(ids []ident.PeerID) [][]byte {
	all := make([][]byte, len(ids))
	for i := range ids {
		all[i] = ids[i][:]
	}
	return all
}

// CountPresence returns the number of connected peers by epoch.
func (s Presence) CountPresence(ctx context.Context) (map[int64]int, error) {
	counts := map[int64]int{}
	err := each(ctx, s.db, query{
		"count the connected peers", `SELECT epoch, count(*) FROM presence GROUP BY epoch`,
		nil,
	},
		func(row pgx.CollectableRow) error {
			var epoch int64
			var n int
			err := row.Scan(&epoch, &n)
			counts[epoch] = n
			return err
		})
	return counts, err
}
