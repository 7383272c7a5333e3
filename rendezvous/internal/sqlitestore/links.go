package sqlitestore

import (
	"context"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// PutLinkReports records link reports.
func (s Links) PutLinkReports(
	ctx context.Context, h presence.Holder, now time.Time, reports []presence.LinkReport,
) error {
	const what = "write link reports"
	if err := checkBatch(what, len(reports)); err != nil {
		return err
	}
	return s.db.tx(ctx, what, func(tx *transaction) error {
		if err := checkHeld(ctx, tx, h, now); err != nil {
			return err
		}
		for _, r := range reports {
			if err := putLinkReport(ctx, tx, r, h.Epoch, now); err != nil {
				return err
			}
		}
		return nil
	})
}

func putLinkReport(ctx context.Context, tx *transaction, r presence.LinkReport, epoch int64, now time.Time) error {
	low, high := r.Ends()
	if r.Kind == presence.LinkNone {
		_, err := tx.ExecContext(ctx, `DELETE FROM paths WHERE low = ? AND high = ? AND teller = ? AND epoch = ?`,
			low[:], high[:], r.From[:], epoch)
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO paths AS p
			(low, high, teller, epoch, session, kind, transport, rtt, since)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (low, high, teller) DO UPDATE SET epoch = excluded.epoch, session = excluded.session,
			kind = excluded.kind, transport = excluded.transport, rtt = excluded.rtt, since = excluded.since
		WHERE p.session <= excluded.session
			OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.epoch = p.epoch AND i.lease_until > ?10)`,
		low[:], high[:], r.From[:], epoch, millis(r.Connected), r.Kind, r.Transport, r.RTT.Milliseconds(),
		millis(r.Since), millis(now))
	return err
}

// validReports selects the reports that count at ?1.
const validReports = `paths r JOIN presence p ON p.peer = r.teller AND p.epoch = r.epoch AND p.since = r.session
	JOIN instances i ON i.epoch = r.epoch AND i.lease_until > ?1`

// Pairs returns pairs of peers that have a link. In SQLite the columns next to
// max are those of the row with the maximum.
func (s Links) Pairs(ctx context.Context, q presence.PairQuery, now time.Time) ([]presence.Pair, error) {
	args := []any{millis(now), q.After[0][:], q.After[1][:], q.Limit}
	of, kind := ``, ``
	if !q.Peer.IsZero() { // a condition of its own, so that the indexes are used
		of = ` AND (r.low = ?5 OR r.high = ?5)`
		args = append(args, q.Peer[:])
	}
	if q.Relayed != nil {
		kind = fmt.Sprintf(` WHERE (kind = %d) = %t`, presence.LinkRelayed, *q.Relayed)
	}
	return collect(ctx, s.db, query{"read the pairs", `SELECT
			l.low, l.high, coalesce(a.name, ''), coalesce(b.name, ''), l.kind, l.transport, l.rtt, l.since FROM (
			SELECT r.low, r.high, r.kind, r.transport, r.rtt, r.since, max(r.since) FROM ` + validReports + `
			WHERE (r.low, r.high) > (?2, ?3)` + of + ` GROUP BY r.low, r.high
		) l LEFT JOIN peers a ON a.id = l.low LEFT JOIN peers b ON b.id = l.high` + kind + `
		ORDER BY l.low, l.high LIMIT ?4`, args},
		func(row scanner) (presence.Pair, error) {
			var p presence.Pair
			var low, high []byte
			var rtt, since int64
			err := row.Scan(&low, &high, &p.Names[0], &p.Names[1], &p.Kind, &p.Transport, &rtt, &since)
			copy(p.Peers[0][:], low)
			copy(p.Peers[1][:], high)
			p.RTT, p.Since = time.Duration(rtt)*time.Millisecond, moment(since)
			return p, err
		})
}

// CountPairs counts the pairs that have a link, by epoch.
func (s Links) CountPairs(ctx context.Context, now time.Time) (map[int64]presence.PairCount, error) {
	counts := map[int64]presence.PairCount{}
	err := each(ctx, s.db, query{"count the pairs", `SELECT epoch, sum(kind <> ?2), sum(kind = ?2) FROM (
			SELECT r.epoch, r.kind, max(r.since) FROM ` + validReports + ` GROUP BY r.low, r.high
		) GROUP BY epoch`, []any{millis(now), presence.LinkRelayed}},
		func(row scanner) error {
			var epoch int64
			var n presence.PairCount
			err := row.Scan(&epoch, &n.Direct, &n.Relayed)
			counts[epoch] = n
			return err
		})
	return counts, err
}

// sweepLinks removes link reports that no longer count.
func sweepLinks(ctx context.Context, tx *transaction) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM paths WHERE NOT EXISTS (
		SELECT 1 FROM presence p WHERE p.peer = paths.teller AND p.epoch = paths.epoch AND p.since = paths.session)`)
	return err
}
