package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PutPaths says what links are like.
func (s *Store) PutPaths(ctx context.Context, h registry.Holder, now time.Time, paths []registry.Path) error {
	const what = "write what links are like"
	if len(paths) > registry.MaxBatch {
		return fmt.Errorf("%s: %d at once, at most %d", what, len(paths), registry.MaxBatch)
	}
	return s.tx(ctx, what, func(tx *transaction) error {
		if err := held(ctx, tx, h, now); err != nil {
			return err
		}
		put, err := tx.PrepareContext(ctx, `INSERT INTO paths AS p (low, high, teller, epoch, session, kind, transport, rtt, since)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
			ON CONFLICT (low, high, teller) DO UPDATE SET epoch = excluded.epoch, session = excluded.session, kind = excluded.kind,
				transport = excluded.transport, rtt = excluded.rtt, since = excluded.since
			WHERE p.session <= excluded.session OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.epoch = p.epoch AND i.lease_until > ?10)`)
		if err != nil {
			return err
		}
		for _, p := range paths {
			low, high := p.Ends()
			if p.Kind == registry.PathNone {
				_, err = tx.ExecContext(ctx, `DELETE FROM paths WHERE low = ? AND high = ? AND teller = ? AND epoch = ?`, low[:], high[:], p.From[:], h.Epoch)
			} else {
				_, err = put.ExecContext(ctx, low[:], high[:], p.From[:], h.Epoch, millis(p.Session), p.Kind, p.Transport, p.RTT.Milliseconds(), millis(p.Since), millis(now))
			}
			if err != nil {
				return errors.Join(err, put.Close())
			}
		}
		return put.Close()
	})
}

// held returns ErrFenced unless the holder has its lease.
func held(ctx context.Context, tx *transaction, h registry.Holder, now time.Time) error {
	var is bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM instances WHERE name = ? AND epoch = ? AND lease_until > ?)`,
		h.Instance, h.Epoch, millis(now)).Scan(&is)
	if err == nil && !is {
		err = registry.ErrFenced
	}
	return err
}

// livePaths is the paths that count at ?1.
const livePaths = `paths r JOIN presence p ON p.peer = r.teller AND p.epoch = r.epoch AND p.since = r.session
	JOIN instances i ON i.epoch = r.epoch AND i.lease_until > ?1`

// Pairs returns pairs that have a link. In SQLite the columns beside max are of
// the row that has it.
func (s *Store) Pairs(ctx context.Context, q registry.PairQuery, now time.Time) ([]registry.Pair, error) {
	const what = "read the pairs"
	args := []any{millis(now), q.After[0][:], q.After[1][:], q.Limit}
	of, kind := ``, ``
	if !q.Peer.IsZero() { // so that the indexes serve
		of = ` AND (r.low = ?5 OR r.high = ?5)`
		args = append(args, q.Peer[:])
	}
	if q.Relayed != nil {
		kind = fmt.Sprintf(` WHERE (kind = %d) = %t`, registry.PathRelayed, *q.Relayed)
	}
	rows, err := s.read.QueryContext(ctx, `SELECT l.low, l.high, coalesce(a.name, ''), coalesce(b.name, ''), l.kind, l.transport, l.rtt, l.since FROM (
			SELECT r.low, r.high, r.kind, r.transport, r.rtt, r.since, max(r.since) FROM `+livePaths+`
			WHERE (r.low, r.high) > (?2, ?3)`+of+` GROUP BY r.low, r.high
		) l LEFT JOIN peers a ON a.id = l.low LEFT JOIN peers b ON b.id = l.high`+kind+` ORDER BY l.low, l.high LIMIT ?4`, args...)
	if err != nil {
		return nil, failed(what, err)
	}
	return collect(rows, what, func(rows *sql.Rows) (registry.Pair, error) {
		var p registry.Pair
		var low, high []byte
		var rtt, since int64
		err := rows.Scan(&low, &high, &p.Names[0], &p.Names[1], &p.Kind, &p.Transport, &rtt, &since)
		copy(p.Peers[0][:], low)
		copy(p.Peers[1][:], high)
		p.RTT, p.Since = time.Duration(rtt)*time.Millisecond, moment(since)
		return p, err
	})
}

// CountPairs counts the pairs that have a link.
func (s *Store) CountPairs(ctx context.Context, now time.Time) (map[int64]registry.PairCount, error) {
	const what = "count the pairs"
	rows, err := s.read.QueryContext(ctx, `SELECT epoch, sum(kind <> ?2), sum(kind = ?2) FROM (
			SELECT r.epoch, r.kind, max(r.since) FROM `+livePaths+` GROUP BY r.low, r.high
		) GROUP BY epoch`, millis(now), registry.PathRelayed)
	if err != nil {
		return nil, failed(what, err)
	}
	counts := map[int64]registry.PairCount{}
	_, err = collect(rows, what, func(rows *sql.Rows) (struct{}, error) {
		var epoch int64
		var n registry.PairCount
		err := rows.Scan(&epoch, &n.Direct, &n.Relayed)
		counts[epoch] = n
		return struct{}{}, err
	})
	return counts, err
}

// sweepPaths removes what counts no more.
func sweepPaths(ctx context.Context, tx *transaction) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM paths WHERE NOT EXISTS (
		SELECT 1 FROM presence p WHERE p.peer = paths.teller AND p.epoch = paths.epoch AND p.since = paths.session)`)
	return err
}
