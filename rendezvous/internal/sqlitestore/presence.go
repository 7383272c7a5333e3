package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Clock is this machine's clock: nobody else uses the file.
func (s *Store) Clock(context.Context) (time.Time, error) { return time.Now(), nil }

// TakeLease makes this process the instance.
func (s *Store) TakeLease(ctx context.Context, i registry.Instance, now time.Time, ttl time.Duration) (epoch int64, err error) {
	err = s.tx(ctx, "take the lease", func(tx *transaction) error {
		if epoch, err = newEpoch(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO instances (name, epoch, address, region, relay, lease_until, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
			ON CONFLICT (name) DO UPDATE SET epoch = ?2, address = ?3, region = ?4, relay = ?5, lease_until = ?6, version = ?7`,
			i.Name, epoch, i.Address, i.Region, i.Relay, millis(now.Add(ttl)), i.Version)
		return err
	})
	return epoch, err
}

// newEpoch returns a number that was never given before.
func newEpoch(ctx context.Context, tx *transaction) (epoch int64, err error) {
	if err := tx.QueryRowContext(ctx, `INSERT INTO epochs DEFAULT VALUES RETURNING epoch`).Scan(&epoch); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM epochs WHERE epoch < ?`, epoch)
	return epoch, err
}

// RenewLease prolongs a lease.
func (s *Store) RenewLease(ctx context.Context, h registry.Holder, now time.Time, ttl time.Duration) error {
	res, err := s.write.ExecContext(ctx, `UPDATE instances SET lease_until = ? WHERE name = ? AND epoch = ? AND lease_until > ?`,
		millis(now.Add(ttl)), h.Instance, h.Epoch, millis(now))
	return failed("renew the lease", oneRow(res, err, registry.ErrFenced))
}

// ReleaseLease ends a lease and the presence under it.
func (s *Store) ReleaseLease(ctx context.Context, h registry.Holder) error {
	return s.tx(ctx, "release the lease", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM instances WHERE name = ? AND epoch = ?`, h.Instance, h.Epoch)
		if err := oneRow(res, err, registry.ErrFenced); err != nil {
			if errors.Is(err, registry.ErrFenced) {
				return nil
			}
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM presence WHERE epoch = ?`, h.Epoch)
		return err
	})
}

// Instances returns the instances with a lease.
func (s *Store) Instances(ctx context.Context, now time.Time) ([]registry.Instance, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT name, epoch, address, region, relay, lease_until, version FROM instances WHERE lease_until > ? ORDER BY name`, millis(now))
	if err != nil {
		return nil, failed("read the instances", err)
	}
	return collect(rows, "read the instances", func(rows *sql.Rows) (registry.Instance, error) {
		var i registry.Instance
		var until int64
		err := rows.Scan(&i.Name, &i.Epoch, &i.Address, &i.Region, &i.Relay, &until, &i.Version)
		i.Until = moment(until)
		return i, err
	})
}

// PutPresence says that peers are connected at the holder.
func (s *Store) PutPresence(ctx context.Context, h registry.Holder, now time.Time, peers []registry.Presence) (replaced []registry.Replaced, err error) {
	const older = `SELECT i.name FROM presence p JOIN instances i ON i.epoch = p.epoch
		WHERE p.peer = ?1 AND p.epoch <> ?2 AND p.since < ?3 AND i.lease_until > ?4`
	const put = `INSERT INTO presence AS p (peer, epoch, since) VALUES (?1, ?2, ?3)
		ON CONFLICT (peer) DO UPDATE SET epoch = excluded.epoch, since = excluded.since
		WHERE p.since < excluded.since OR (p.since = excluded.since AND p.epoch < excluded.epoch)
			OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.epoch = p.epoch AND i.lease_until > ?4)`
	err = s.fenced(ctx, "write presence", h, now, peers, func(tx *transaction, p registry.Presence) error {
		args := []any{p.Peer[:], h.Epoch, millis(p.Since), millis(now)}
		r := registry.Replaced{Presence: p}
		switch err := tx.QueryRowContext(ctx, older, args...).Scan(&r.Instance); {
		case err == nil:
			replaced = append(replaced, r)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		_, err := tx.ExecContext(ctx, put, args...)
		return err
	})
	return replaced, err
}

// RemovePresence says that connections have ended.
func (s *Store) RemovePresence(ctx context.Context, h registry.Holder, now time.Time, peers []registry.Presence) error {
	return s.fenced(ctx, "remove presence", h, now, peers, func(tx *transaction, p registry.Presence) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO last_seen (peer, at) SELECT peer, ?4 FROM presence WHERE peer = ?1 AND epoch = ?2 AND since <= ?3
			ON CONFLICT (peer) DO UPDATE SET at = max(at, excluded.at)`, p.Peer[:], h.Epoch, millis(p.Since), millis(now))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM presence WHERE peer = ? AND epoch = ? AND since <= ?`, p.Peer[:], h.Epoch, millis(p.Since))
		return err
	})
}

// fenced does something for each peer if the holder has its lease.
func (s *Store) fenced(ctx context.Context, what string, h registry.Holder, now time.Time, peers []registry.Presence, each func(*transaction, registry.Presence) error) error {
	if len(peers) > registry.MaxBatch {
		return fmt.Errorf("%s: %d peers at once, at most %d", what, len(peers), registry.MaxBatch)
	}
	return s.tx(ctx, what, func(tx *transaction) error {
		if err := held(ctx, tx, h, now); err != nil {
			return err
		}
		for _, p := range peers {
			if err := each(tx, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// LocatePeers returns where peers are connected.
func (s *Store) LocatePeers(ctx context.Context, ids []ident.PeerID, now time.Time) (map[ident.PeerID]registry.Location, error) {
	const what = "locate peers"
	if len(ids) > registry.MaxBatch {
		return nil, fmt.Errorf("%s: %d at once, at most %d", what, len(ids), registry.MaxBatch)
	}
	const where = `SELECT i.name, i.epoch, p.since FROM presence p JOIN instances i ON i.epoch = p.epoch
		WHERE p.peer = ? AND i.lease_until > ?`
	at := make(map[ident.PeerID]registry.Location, len(ids))
	for _, id := range ids {
		var l registry.Location
		var since int64
		err := s.read.QueryRowContext(ctx, where, id[:], millis(now)).Scan(&l.Instance, &l.Epoch, &since)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, failed(what, err)
		}
		l.Since = moment(since)
		at[id] = l
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
	for _, id := range ids {
		var at int64
		err := s.read.QueryRowContext(ctx, `SELECT at FROM last_seen WHERE peer = ?`, id[:]).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, failed(what, err)
		}
		seen[id] = moment(at)
	}
	return seen, nil
}

// CountPresence returns how many peers are connected under each epoch.
func (s *Store) CountPresence(ctx context.Context) (map[int64]int, error) {
	const what = "count the connected peers"
	rows, err := s.read.QueryContext(ctx, `SELECT epoch, count(*) FROM presence GROUP BY epoch`)
	if err != nil {
		return nil, failed(what, err)
	}
	counts := map[int64]int{}
	_, err = collect(rows, what, func(rows *sql.Rows) (struct{}, error) {
		var epoch int64
		var n int
		err := rows.Scan(&epoch, &n)
		counts[epoch] = n
		return struct{}{}, err
	})
	return counts, err
}

// Sweep removes what is over.
func (s *Store) Sweep(ctx context.Context, now time.Time) error {
	return s.tx(ctx, "sweep", func(tx *transaction) error {
		for _, step := range []struct {
			statement string
			before    time.Time
		}{
			{`DELETE FROM challenges WHERE expires <= ?`, now},
			{`DELETE FROM mailboxes WHERE expires <= ?`, now.Add(-registry.MailboxKept)},
			{`DELETE FROM invites WHERE expires <= ?`, now.Add(-registry.InviteKept)},
			{`DELETE FROM admin_tokens WHERE expires <= ?`, now.Add(-registry.TokenKept)},
			{`DELETE FROM approvals WHERE expires <= ?`, now},
			{`DELETE FROM admin_links WHERE expires <= ?`, now},
			{`DELETE FROM audit WHERE at <= ?`, now.Add(-registry.EventsKept)},
			{`DELETE FROM history WHERE at <= ?`, now.Add(-registry.HistoryKept)},
			{`DELETE FROM locks WHERE until <= ?`, now.Add(-registry.InstanceKept)},
			{`DELETE FROM instances WHERE lease_until <= ?`, now.Add(-registry.InstanceKept)},
		} {
			if _, err := tx.ExecContext(ctx, step.statement, millis(step.before)); err != nil {
				return err
			}
		}
		if err := sweepEvents(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM relay_use WHERE day <= ?`, registry.DayOf(now)-registry.RelayUseKept); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM presence WHERE epoch NOT IN (SELECT epoch FROM instances)`); err != nil {
			return err
		}
		return sweepPaths(ctx, tx)
	})
}

// CountPeers returns how many peers are registered.
func (s *Store) CountPeers(ctx context.Context) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT count(*) FROM peers`).Scan(&n)
	return n, failed("count the peers", err)
}

// Secret returns the secret kept under a name.
func (s *Store) Secret(ctx context.Context, name string, fresh []byte) (value []byte, err error) {
	err = s.tx(ctx, "keep a secret", func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, fresh); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT value FROM secrets WHERE name = ?`, name).Scan(&value)
	})
	return value, err
}
