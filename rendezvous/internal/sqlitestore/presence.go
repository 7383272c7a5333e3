package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// PutPresence records connections to the holder.
func (s Presence) PutPresence(
	ctx context.Context, h presence.Holder, now time.Time, peers []presence.Connection,
) (replaced []presence.Replacement, err error) {
	const what = "write presence"
	if err := checkBatch(what, len(peers)); err != nil {
		return nil, err
	}
	err = s.db.tx(ctx, what, func(tx *transaction) error {
		if err := checkHeld(ctx, tx, h, now); err != nil {
			return err
		}
		for _, p := range peers {
			instance, err := putConnection(ctx, tx, p, h.Epoch, now)
			if err != nil {
				return err
			}
			if instance != "" {
				replaced = append(replaced, presence.Replacement{Connection: p, Instance: instance})
			}
		}
		return nil
	})
	return replaced, err
}

// putConnection writes a connection under an epoch, and returns the other
// instance whose older connection it replaced, "" if none.
func putConnection(
	ctx context.Context, tx *transaction, p presence.Connection, epoch int64, now time.Time,
) (replaced string, err error) {
	args := []any{p.Peer[:], epoch, millis(p.Since), millis(now)}
	err = tx.QueryRowContext(ctx, `SELECT i.name FROM presence p JOIN instances i ON i.epoch = p.epoch
		WHERE p.peer = ?1 AND p.epoch <> ?2 AND p.since < ?3 AND i.lease_until > ?4`, args...).Scan(&replaced)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO presence AS p (peer, epoch, since) VALUES (?1, ?2, ?3)
		ON CONFLICT (peer) DO UPDATE SET epoch = excluded.epoch, since = excluded.since
		WHERE p.since < excluded.since OR (p.since = excluded.since AND p.epoch < excluded.epoch)
			OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.epoch = p.epoch AND i.lease_until > ?4)`, args...)
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
	return s.db.tx(ctx, what, func(tx *transaction) error {
		if err := checkHeld(ctx, tx, h, now); err != nil {
			return err
		}
		for _, p := range peers {
			_, err := tx.ExecContext(ctx, `INSERT INTO last_seen (peer, at)
				SELECT peer, ?4 FROM presence WHERE peer = ?1 AND epoch = ?2 AND since <= ?3
				ON CONFLICT (peer) DO UPDATE SET at = max(at, excluded.at)`,
				p.Peer[:], h.Epoch, millis(p.Since), millis(now))
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `DELETE FROM presence WHERE peer = ? AND epoch = ? AND since <= ?`,
				p.Peer[:], h.Epoch, millis(p.Since))
			if err != nil {
				return err
			}
		}
		return nil
	})
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
	for _, id := range ids {
		var l presence.Location
		var since int64
		err := s.db.read.QueryRowContext(ctx, `SELECT i.name, i.epoch, p.since
			FROM presence p JOIN instances i ON i.epoch = p.epoch
			WHERE p.peer = ? AND i.lease_until > ?`, id[:], millis(now)).Scan(&l.Instance, &l.Epoch, &since)
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

// LastSeen returns when the last connection of each peer ended.
func (s Presence) LastSeen(ctx context.Context, ids []ident.PeerID) (map[ident.PeerID]time.Time, error) {
	const what = "read when peers were last seen"
	if err := checkBatch(what, len(ids)); err != nil {
		return nil, err
	}
	seen := make(map[ident.PeerID]time.Time, len(ids))
	for _, id := range ids {
		var at int64
		err := s.db.read.QueryRowContext(ctx, `SELECT at FROM last_seen WHERE peer = ?`, id[:]).Scan(&at)
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

// CountPresence returns the number of connected peers by epoch.
func (s Presence) CountPresence(ctx context.Context) (map[int64]int, error) {
	counts := map[int64]int{}
	err := each(ctx, s.db, query{
		"count the connected peers", `SELECT epoch, count(*) FROM presence GROUP BY epoch`,
		nil,
	},
		func(row scanner) error {
			var epoch int64
			var n int
			err := row.Scan(&epoch, &n)
			counts[epoch] = n
			return err
		})
	return counts, err
}
