package pgstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

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
	c := reportColumns(reports)
	var held bool
	err := s.db.pool.QueryRow(ctx, holding+`, said AS (
			SELECT * FROM unnest($4::bytea[], $5::bytea[], $6::bytea[],
				$7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
				AS u (low, high, teller, session, kind, transport, rtt, since), holder
		), gone AS (
			DELETE FROM paths p USING said u
			WHERE u.kind = 0 AND p.low = u.low AND p.high = u.high AND p.teller = u.teller AND p.epoch = $2
		), written AS (
			INSERT INTO paths AS p (low, high, teller, epoch, session, kind, transport, rtt, since)
			SELECT low, high, teller, $2, session, kind, transport, rtt, since FROM said WHERE kind <> 0
			ON CONFLICT (low, high, teller) DO UPDATE SET epoch = excluded.epoch, session = excluded.session,
				kind = excluded.kind, transport = excluded.transport, rtt = excluded.rtt, since = excluded.since
			WHERE p.session <= excluded.session
				OR NOT EXISTS (SELECT 1 FROM instances i
					WHERE i.epoch = p.epoch AND i.lease_until > greatest($3, `+clock+`))
		)
		SELECT EXISTS (SELECT 1 FROM holder)`,
		h.Instance, h.Epoch, millis(now),
		c.low, c.high, c.from, c.connected, c.kind, c.transport, c.rtt, c.since).Scan(&held)
	if err == nil && !held {
		err = presence.ErrFenced
	}
	return s.db.failed(what, err)
}

// reportArrays are link reports as arrays for unnest.
type reportArrays struct {
	low, high, from                        [][]byte
	connected, kind, transport, rtt, since []int64
}

// reportColumns returns reports as arrays. If a batch has several reports of a
// peer for one link, the last one counts. Like those of columns, the rows are in
// order.
func reportColumns(reports []presence.LinkReport) (c reportArrays) {
	sorted := slices.Clone(reports)
	key := func(r presence.LinkReport) string {
		low, high := r.Ends()
		return string(low[:]) + string(high[:]) + string(r.From[:])
	}
	slices.SortStableFunc(sorted, func(a, b presence.LinkReport) int { return strings.Compare(key(a), key(b)) })
	for i := range sorted {
		if i+1 < len(sorted) && key(sorted[i]) == key(sorted[i+1]) {
			continue
		}
		r := &sorted[i]
		low, high := r.Ends()
		c.low, c.high, c.from = append(c.low, low[:]), append(c.high, high[:]), append(c.from, r.From[:])
		c.connected, c.since = append(c.connected, millis(r.Connected)), append(c.since, millis(r.Since))
		c.kind, c.transport = append(c.kind, int64(r.Kind)), append(c.transport, int64(r.Transport))
		c.rtt = append(c.rtt, r.RTT.Milliseconds())
	}
	return c
}

// validReports selects the reports that count at $1.
const validReports = `paths r JOIN presence p ON p.peer = r.teller AND p.epoch = r.epoch AND p.since = r.session
	JOIN instances i ON i.epoch = r.epoch AND i.lease_until > greatest($1, ` + clock + `)`

// Pairs returns pairs of peers that have a link.
func (s Links) Pairs(ctx context.Context, q presence.PairQuery, now time.Time) ([]presence.Pair, error) {
	args := []any{millis(now), q.After[0][:], q.After[1][:], q.Limit}
	of, kind := ``, ``
	if !q.Peer.IsZero() { // a condition of its own, so that the indexes are used
		of = ` AND (r.low = $5 OR r.high = $5)`
		args = append(args, q.Peer[:])
	}
	if q.Relayed != nil {
		kind = fmt.Sprintf(` WHERE (kind = %d) = %t`, presence.LinkRelayed, *q.Relayed)
	}
	return collect(ctx, s.db, query{"read the pairs", `SELECT
			l.low, l.high, coalesce(a.name, ''), coalesce(b.name, ''), l.kind, l.transport, l.rtt, l.since FROM (
			SELECT DISTINCT ON (r.low, r.high) r.low, r.high, r.kind, r.transport, r.rtt, r.since
			FROM ` + validReports + `
			WHERE (r.low, r.high) > ($2, $3)` + of + ` ORDER BY r.low, r.high, r.since DESC
		) l LEFT JOIN peers a ON a.id = l.low LEFT JOIN peers b ON b.id = l.high` + kind + `
		ORDER BY l.low, l.high LIMIT $4`, args},
		func(row pgx.CollectableRow) (presence.Pair, error) {
			var p presence.Pair
			var low, high []byte
			var kind, transport, rtt, since int64
			err := row.Scan(&low, &high, &p.Names[0], &p.Names[1], &kind, &transport, &rtt, &since)
			copy(p.Peers[0][:], low)
			copy(p.Peers[1][:], high)
			p.Kind, p.Transport = presence.LinkKind(kind), presence.Transport(transport)
			p.RTT, p.Since = time.Duration(rtt)*time.Millisecond, moment(since)
			return p, err
		})
}

// CountPairs counts the pairs that have a link, by epoch.
func (s Links) CountPairs(ctx context.Context, now time.Time) (map[int64]presence.PairCount, error) {
	counts := map[int64]presence.PairCount{}
	err := each(ctx, s.db, query{"count the pairs", `SELECT
			epoch, count(*) FILTER (WHERE kind <> $2), count(*) FILTER (WHERE kind = $2) FROM (
			SELECT DISTINCT ON (r.low, r.high) r.epoch, r.kind FROM ` + validReports + `
			ORDER BY r.low, r.high, r.since DESC
		) l GROUP BY epoch`, []any{millis(now), int(presence.LinkRelayed)}},
		func(row pgx.CollectableRow) error {
			var epoch int64
			var n presence.PairCount
			err := row.Scan(&epoch, &n.Direct, &n.Relayed)
			counts[epoch] = n
			return err
		})
	return counts, err
}

// sweepLinks removes link reports that no longer count.
func sweepLinks(ctx context.Context, db *DB) error {
	const sql = `DELETE FROM paths WHERE ctid IN (
		SELECT r.ctid FROM paths r WHERE $1 = 0 AND NOT EXISTS (
			SELECT 1 FROM presence p WHERE p.peer = r.teller AND p.epoch = r.epoch AND p.since = r.session) LIMIT $2
		) AND NOT EXISTS (SELECT 1 FROM presence p WHERE p.peer = paths.teller AND p.epoch = paths.epoch
			AND p.since = paths.session)`
	return inChunks(ctx, db, sql, 0)
}
