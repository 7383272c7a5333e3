package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PutPaths says what links are like.
func (s *Store) PutPaths(ctx context.Context, h registry.Holder, now time.Time, paths []registry.Path) error {
	const what = "write what links are like"
	if len(paths) > registry.MaxBatch {
		return fmt.Errorf("%s: %d at once, at most %d", what, len(paths), registry.MaxBatch)
	}
	c := pathColumns(paths)
	var held bool
	err := s.pool.QueryRow(ctx, `WITH holder AS (
			SELECT 1 FROM instances WHERE name = $1 AND epoch = $2 AND lease_until > greatest($3, `+clock+`)
		), said AS (
			SELECT * FROM unnest($4::bytea[], $5::bytea[], $6::bytea[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
				AS u (low, high, teller, session, kind, transport, rtt, since), holder
		), gone AS (
			DELETE FROM paths p USING said u WHERE u.kind = 0 AND p.low = u.low AND p.high = u.high AND p.teller = u.teller AND p.epoch = $2
		), written AS (
			INSERT INTO paths AS p (low, high, teller, epoch, session, kind, transport, rtt, since)
			SELECT low, high, teller, $2, session, kind, transport, rtt, since FROM said WHERE kind <> 0
			ON CONFLICT (low, high, teller) DO UPDATE SET epoch = excluded.epoch, session = excluded.session, kind = excluded.kind,
				transport = excluded.transport, rtt = excluded.rtt, since = excluded.since
			WHERE p.session <= excluded.session OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.epoch = p.epoch AND i.lease_until > greatest($3, `+clock+`))
		)
		SELECT EXISTS (SELECT 1 FROM holder)`,
		h.Instance, h.Epoch, millis(now), c.low, c.high, c.teller, c.session, c.kind, c.transport, c.rtt, c.since).Scan(&held)
	if err == nil && !held {
		err = registry.ErrFenced
	}
	return s.failed(what, err)
}

// pathArrays are paths as the arrays that unnest takes.
type pathArrays struct {
	low, high, teller                    [][]byte
	session, kind, transport, rtt, since []int64
}

// pathColumns has each path once, and in order, as columns has peers.
func pathColumns(paths []registry.Path) (c pathArrays) {
	sorted := slices.Clone(paths)
	key := func(p registry.Path) string {
		low, high := p.Ends()
		return string(low[:]) + string(high[:]) + string(p.From[:])
	}
	slices.SortStableFunc(sorted, func(a, b registry.Path) int {
		switch ka, kb := key(a), key(b); {
		case ka < kb:
			return -1
		case ka > kb:
			return 1
		}
		return 0
	})
	for i := range sorted {
		if i+1 < len(sorted) && key(sorted[i]) == key(sorted[i+1]) {
			continue // what was said later counts
		}
		p := &sorted[i]
		low, high := p.Ends()
		c.low, c.high, c.teller = append(c.low, low[:]), append(c.high, high[:]), append(c.teller, p.From[:])
		c.session, c.since = append(c.session, millis(p.Session)), append(c.since, millis(p.Since))
		c.kind, c.transport, c.rtt = append(c.kind, int64(p.Kind)), append(c.transport, int64(p.Transport)), append(c.rtt, p.RTT.Milliseconds())
	}
	return c
}

// livePaths is the paths that count at $1.
const livePaths = `paths r JOIN presence p ON p.peer = r.teller AND p.epoch = r.epoch AND p.since = r.session
	JOIN instances i ON i.epoch = r.epoch AND i.lease_until > greatest($1, ` + clock + `)`

// Pairs returns pairs that have a link.
func (s *Store) Pairs(ctx context.Context, q registry.PairQuery, now time.Time) ([]registry.Pair, error) {
	args := []any{millis(now), q.After[0][:], q.After[1][:], q.Limit}
	of, kind := ``, ``
	if !q.Peer.IsZero() { // so that the indexes serve
		of = ` AND (r.low = $5 OR r.high = $5)`
		args = append(args, q.Peer[:])
	}
	if q.Relayed != nil {
		kind = fmt.Sprintf(` WHERE (kind = %d) = %t`, registry.PathRelayed, *q.Relayed)
	}
	return collect(ctx, s, "read the pairs", func(row pgx.CollectableRow) (registry.Pair, error) {
		var p registry.Pair
		var low, high []byte
		var kind, transport, rtt, since int64
		err := row.Scan(&low, &high, &p.Names[0], &p.Names[1], &kind, &transport, &rtt, &since)
		copy(p.Peers[0][:], low)
		copy(p.Peers[1][:], high)
		p.Kind, p.Transport = registry.PathKind(kind), registry.Transport(transport)
		p.RTT, p.Since = time.Duration(rtt)*time.Millisecond, moment(since)
		return p, err
	}, `SELECT l.low, l.high, coalesce(a.name, ''), coalesce(b.name, ''), l.kind, l.transport, l.rtt, l.since FROM (
			SELECT DISTINCT ON (r.low, r.high) r.low, r.high, r.kind, r.transport, r.rtt, r.since FROM `+livePaths+`
			WHERE (r.low, r.high) > ($2, $3)`+of+` ORDER BY r.low, r.high, r.since DESC
		) l LEFT JOIN peers a ON a.id = l.low LEFT JOIN peers b ON b.id = l.high`+kind+` ORDER BY l.low, l.high LIMIT $4`, args...)
}

// CountPairs counts the pairs that have a link.
func (s *Store) CountPairs(ctx context.Context, now time.Time) (map[int64]registry.PairCount, error) {
	counts := map[int64]registry.PairCount{}
	_, err := collect(ctx, s, "count the pairs", func(row pgx.CollectableRow) (struct{}, error) {
		var epoch int64
		var n registry.PairCount
		err := row.Scan(&epoch, &n.Direct, &n.Relayed)
		counts[epoch] = n
		return struct{}{}, err
	}, `SELECT epoch, count(*) FILTER (WHERE kind <> $2), count(*) FILTER (WHERE kind = $2) FROM (
			SELECT DISTINCT ON (r.low, r.high) r.epoch, r.kind FROM `+livePaths+` ORDER BY r.low, r.high, r.since DESC
		) l GROUP BY epoch`, millis(now), int(registry.PathRelayed))
	return counts, err
}

// sweepPaths removes what counts no more.
func (s *Store) sweepPaths(ctx context.Context) error {
	const statement = `DELETE FROM paths WHERE ctid IN (
		SELECT r.ctid FROM paths r WHERE $1 = 0 AND NOT EXISTS (
			SELECT 1 FROM presence p WHERE p.peer = r.teller AND p.epoch = r.epoch AND p.since = r.session) LIMIT $2
		) AND NOT EXISTS (SELECT 1 FROM presence p WHERE p.peer = paths.teller AND p.epoch = paths.epoch AND p.since = paths.session)`
	return s.inChunks(ctx, statement, 0)
}
