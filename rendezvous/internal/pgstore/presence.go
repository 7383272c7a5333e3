package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Clock is the database's clock.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	var now int64
	err := s.pool.QueryRow(ctx, `SELECT `+clock).Scan(&now)
	return moment(now), s.failed("read the clock", err)
}

// clock is the database's own time as a bigint. Leases are held against it and
// not against the moment in a statement alone, which may have come late.
const clock = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// TakeLease makes this process the instance.
func (s *Store) TakeLease(ctx context.Context, i registry.Instance, now time.Time, ttl time.Duration) (epoch int64, err error) {
	err = s.pool.QueryRow(ctx, `INSERT INTO instances (name, epoch, address, region, relay, lease_until, version)
		VALUES ($1, nextval('epochs'), $2, $3, $4, greatest($5, `+clock+`) + $6, $7)
		ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, address = excluded.address, region = excluded.region, relay = excluded.relay,
			lease_until = excluded.lease_until, version = excluded.version
		RETURNING epoch`, i.Name, i.Address, i.Region, i.Relay, millis(now), ttl.Milliseconds(), i.Version).Scan(&epoch)
	return epoch, s.failed("take the lease", err)
}

// RenewLease prolongs a lease.
func (s *Store) RenewLease(ctx context.Context, h registry.Holder, now time.Time, ttl time.Duration) error {
	return s.one(ctx, "renew the lease", registry.ErrFenced, `UPDATE instances SET lease_until = greatest($1, `+clock+`) + $2
		WHERE name = $3 AND epoch = $4 AND lease_until > greatest($1, `+clock+`)`, millis(now), ttl.Milliseconds(), h.Instance, h.Epoch)
}

// ReleaseLease ends a lease. The presence under it counts no more; Sweep
// removes it.
func (s *Store) ReleaseLease(ctx context.Context, h registry.Holder) error {
	return s.one(ctx, "release the lease", nil, `DELETE FROM instances WHERE name = $1 AND epoch = $2`, h.Instance, h.Epoch)
}

// Instances returns the instances with a lease.
func (s *Store) Instances(ctx context.Context, now time.Time) ([]registry.Instance, error) {
	const query = `SELECT name, epoch, address, region, relay, lease_until, version FROM instances WHERE lease_until > greatest($1, ` + clock + `) ORDER BY name`
	return collect(ctx, s, "read the instances", func(row pgx.CollectableRow) (registry.Instance, error) {
		var i registry.Instance
		var until int64
		err := row.Scan(&i.Name, &i.Epoch, &i.Address, &i.Region, &i.Relay, &until, &i.Version)
		i.Until = moment(until)
		return i, err
	}, query, millis(now))
}

// PutPresence says that peers are connected at the holder. A row that says so
// already is not touched.
func (s *Store) PutPresence(ctx context.Context, h registry.Holder, now time.Time, peers []registry.Presence) ([]registry.Replaced, error) {
	return s.fenced(ctx, "write presence", h, now, peers, `, older AS (
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
		SELECT h.held, o.peer, o.since, o.name FROM (SELECT EXISTS (SELECT 1 FROM holder) AS held) h LEFT JOIN older o ON true`)
}

// RemovePresence says that connections have ended.
func (s *Store) RemovePresence(ctx context.Context, h registry.Holder, now time.Time, peers []registry.Presence) error {
	_, err := s.fenced(ctx, "remove presence", h, now, peers, `, gone AS (
			DELETE FROM presence p USING unnest($4::bytea[], $5::bigint[]) AS u (peer, since), holder
			WHERE p.peer = u.peer AND p.epoch = $2 AND p.since <= u.since
			RETURNING p.peer
		), seen AS (
			INSERT INTO last_seen AS l (peer, at) SELECT peer, $3 FROM gone ORDER BY peer
			ON CONFLICT (peer) DO UPDATE SET at = greatest(l.at, excluded.at)
		)
		SELECT EXISTS (SELECT 1 FROM holder), NULL::bytea, NULL::bigint, NULL::text`)
	return err
}

// holding begins a statement that does something only if the holder has its
// lease.
const holding = `WITH holder AS (
			SELECT 1 FROM instances WHERE name = $1 AND epoch = $2 AND lease_until > greatest($3, ` + clock + `)
		)`

// fenced runs the rest of a statement for peers. Its parameters are name, epoch,
// now, and the peers and moments; its rows tell whether the holder has its lease,
// and a replaced connection or NULLs.
func (s *Store) fenced(ctx context.Context, what string, h registry.Holder, now time.Time, peers []registry.Presence, statement string) ([]registry.Replaced, error) {
	if len(peers) > registry.MaxBatch {
		return nil, fmt.Errorf("%s: %d peers at once, at most %d", what, len(peers), registry.MaxBatch)
	}
	ids, moments := columns(peers)
	held := false
	var replaced []registry.Replaced
	_, err := collect(ctx, s, what, func(row pgx.CollectableRow) (struct{}, error) {
		var peer []byte
		var since *int64
		var at *string
		err := row.Scan(&held, &peer, &since, &at)
		if err == nil && since != nil && at != nil && len(peer) == len(ident.PeerID{}) {
			replaced = append(replaced, registry.Replaced{
				Presence: registry.Presence{Peer: ident.PeerID(peer), Since: moment(*since)}, Instance: *at,
			})
		}
		return struct{}{}, err
	}, holding+statement, h.Instance, h.Epoch, millis(now), ids, moments)
	if err == nil && !held {
		err = registry.ErrFenced
	}
	return replaced, err
}

// columns returns peers as the arrays that unnest takes: each peer once, with
// its newest connection, since one statement must not touch a row twice; and
// in order, so that two instances which write the same rows cannot deadlock.
func columns(peers []registry.Presence) (ids [][]byte, since []int64) {
	sorted := slices.Clone(peers)
	slices.SortFunc(sorted, func(a, b registry.Presence) int {
		if by := a.Peer.Compare(b.Peer); by != 0 {
			return by
		}
		return b.Since.Compare(a.Since)
	})
	sorted = slices.CompactFunc(sorted, func(a, b registry.Presence) bool { return a.Peer == b.Peer })
	for i := range sorted {
		ids = append(ids, sorted[i].Peer[:])
		since = append(since, millis(sorted[i].Since))
	}
	return ids, since
}

// LocatePeers returns where peers are connected.
func (s *Store) LocatePeers(ctx context.Context, ids []ident.PeerID, now time.Time) (map[ident.PeerID]registry.Location, error) {
	const what = "locate peers"
	if len(ids) > registry.MaxBatch {
		return nil, fmt.Errorf("%s: %d at once, at most %d", what, len(ids), registry.MaxBatch)
	}
	at := make(map[ident.PeerID]registry.Location, len(ids))
	_, err := collect(ctx, s, what, func(row pgx.CollectableRow) (struct{}, error) {
		var peer []byte
		var l registry.Location
		var since int64
		err := row.Scan(&peer, &l.Instance, &l.Epoch, &since)
		if err == nil && len(peer) == len(ident.PeerID{}) {
			l.Since = moment(since)
			at[ident.PeerID(peer)] = l
		}
		return struct{}{}, err
	}, `SELECT p.peer, i.name, i.epoch, p.since FROM presence p JOIN instances i ON i.epoch = p.epoch
		WHERE p.peer = ANY($1) AND i.lease_until > greatest($2, `+clock+`)`, raw(ids), millis(now))
	if err != nil {
		return nil, err
	}
	return at, nil
}

// LastSeen returns when the last connection of peers ended.
func (s *Store) LastSeen(ctx context.Context, ids []ident.PeerID) (map[ident.PeerID]time.Time, error) {
	const what = "read when peers were last seen"
	if len(ids) > registry.MaxBatch {
		return nil, fmt.Errorf("%s: %d at once, at most %d", what, len(ids), registry.MaxBatch)
	}
	seen := make(map[ident.PeerID]time.Time, len(ids))
	_, err := collect(ctx, s, what, func(row pgx.CollectableRow) (struct{}, error) {
		var peer []byte
		var at int64
		err := row.Scan(&peer, &at)
		if err == nil && len(peer) == len(ident.PeerID{}) {
			seen[ident.PeerID(peer)] = moment(at)
		}
		return struct{}{}, err
	}, `SELECT peer, at FROM last_seen WHERE peer = ANY($1)`, raw(ids))
	if err != nil {
		return nil, err
	}
	return seen, nil
}

func raw(ids []ident.PeerID) [][]byte {
	all := make([][]byte, len(ids))
	for i := range ids {
		all[i] = ids[i][:]
	}
	return all
}

// CountPresence returns how many peers are connected under each epoch.
func (s *Store) CountPresence(ctx context.Context) (map[int64]int, error) {
	counts := map[int64]int{}
	_, err := collect(ctx, s, "count the connected peers", func(row pgx.CollectableRow) (struct{}, error) {
		var epoch int64
		var n int
		err := row.Scan(&epoch, &n)
		counts[epoch] = n
		return struct{}{}, err
	}, `SELECT epoch, count(*) FROM presence GROUP BY epoch`)
	return counts, err
}

// sweepChunk bounds the rows that one statement of Sweep removes, so that it
// holds no lock for long.
const sweepChunk = 5000

// Sweep removes what is over.
func (s *Store) Sweep(ctx context.Context, now time.Time) error {
	for _, step := range []struct {
		statement string
		before    time.Time
	}{
		{`DELETE FROM challenges WHERE random IN (SELECT random FROM challenges WHERE expires <= $1 LIMIT $2)`, now},
		{`DELETE FROM mailboxes WHERE address IN (SELECT address FROM mailboxes WHERE expires <= $1 LIMIT $2)`, now.Add(-registry.MailboxKept)},
		{`DELETE FROM invites WHERE hash IN (SELECT hash FROM invites WHERE expires <= $1 LIMIT $2)`, now.Add(-registry.InviteKept)},
		{`DELETE FROM admin_tokens WHERE id IN (SELECT id FROM admin_tokens WHERE expires <= $1 LIMIT $2)`, now.Add(-registry.TokenKept)},
		{`DELETE FROM approvals WHERE peer IN (SELECT peer FROM approvals WHERE expires <= $1 LIMIT $2)`, now},
		{`DELETE FROM admin_links WHERE hash IN (SELECT hash FROM admin_links WHERE expires <= $1 LIMIT $2)`, now},
		{`DELETE FROM history WHERE ctid IN (SELECT ctid FROM history WHERE at <= $1 LIMIT $2)`, now.Add(-registry.HistoryKept)},
		{`DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at <= $1 LIMIT $2)`, now.Add(-registry.EventsKept)},
		{`DELETE FROM locks WHERE name IN (SELECT name FROM locks WHERE until <= $1 LIMIT $2) AND until <= $1`, now.Add(-registry.InstanceKept)},
		{`DELETE FROM instances WHERE name IN (SELECT name FROM instances WHERE lease_until <= $1 LIMIT $2) AND lease_until <= $1`, now.Add(-registry.InstanceKept)},
	} {
		if err := s.inChunks(ctx, step.statement, millis(step.before)); err != nil {
			return err
		}
	}
	if err := s.sweepEvents(ctx); err != nil {
		return err
	}
	if err := s.inChunks(ctx, `DELETE FROM relay_use WHERE ctid IN (SELECT ctid FROM relay_use WHERE day <= $1 LIMIT $2)`,
		int64(registry.DayOf(now)-registry.RelayUseKept)); err != nil {
		return err
	}
	if err := s.sweepPresence(ctx); err != nil {
		return err
	}
	return s.sweepPaths(ctx)
}

// sweepPresence removes the presence under leases that are gone, epoch by
// epoch: a peer that reconnects meanwhile has another epoch and is safe.
func (s *Store) sweepPresence(ctx context.Context) error {
	// A walk over the distinct values of the index, however many rows it has.
	const query = `WITH RECURSIVE e AS (
			SELECT min(epoch) AS epoch FROM presence
			UNION ALL
			SELECT (SELECT min(epoch) FROM presence p WHERE p.epoch > e.epoch) FROM e WHERE e.epoch IS NOT NULL
		)
		SELECT epoch FROM e WHERE epoch IS NOT NULL AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.epoch = e.epoch)`
	epochs, err := collect(ctx, s, "find lapsed presence", pgx.RowTo[int64], query)
	if err != nil {
		return err
	}
	for _, epoch := range epochs {
		const statement = `DELETE FROM presence WHERE peer IN (SELECT peer FROM presence WHERE epoch = $1 LIMIT $2) AND epoch = $1`
		if err := s.inChunks(ctx, statement, epoch); err != nil {
			return err
		}
	}
	return nil
}

// inChunks repeats a statement whose second parameter bounds it, until it has
// no more to do.
func (s *Store) inChunks(ctx context.Context, statement string, arg int64) error {
	for {
		tag, err := s.pool.Exec(ctx, statement, arg, sweepChunk)
		if err != nil || tag.RowsAffected() < sweepChunk {
			return s.failed("sweep", err)
		}
	}
}

// CountPeers returns how many peers are registered.
func (s *Store) CountPeers(ctx context.Context) (n int, err error) {
	err = s.pool.QueryRow(ctx, `SELECT count(*) FROM peers`).Scan(&n)
	return n, s.failed("count the peers", err)
}

// Secret returns the secret kept under a name.
func (s *Store) Secret(ctx context.Context, name string, fresh []byte) (value []byte, err error) {
	err = s.tx(ctx, "keep a secret", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, fresh); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT value FROM secrets WHERE name = $1`, name).Scan(&value)
	})
	return value, err
}
