package sqlitestore

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
)

// PutBlob keeps a value.
func (s Blobs) PutBlob(ctx context.Context, b blobs.Blob, under *blobs.Lock) error {
	if err := b.Check(); err != nil {
		return err
	}
	if b.Value == nil {
		b.Value = []byte{}
	}
	return s.db.tx(ctx, "keep a value", func(tx *transaction) error {
		if under != nil {
			var held bool
			err := tx.QueryRowContext(ctx, `SELECT EXISTS (
				SELECT 1 FROM locks WHERE name = ? AND fence = ? AND until > ?)`,
				under.Name, under.Fence, millis(b.Changed)).Scan(&held)
			if err != nil {
				return err
			}
			if !held {
				return blobs.ErrFenced
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO blobs (name, value, changed) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed = excluded.changed`,
			b.Name, b.Value, millis(b.Changed))
		return err
	})
}

// Blob returns a value.
func (s Blobs) Blob(ctx context.Context, name string) (blobs.Blob, error) {
	b := blobs.Blob{Name: name}
	var changed int64
	err := s.db.read.QueryRowContext(ctx, `SELECT value, changed FROM blobs WHERE name = ?`, name).Scan(&b.Value,
		&changed)
	b.Changed = moment(changed)
	return b, failed("read a value", none(err, blobs.ErrNotFound))
}

// below selects the value of a name and those below it.
const below = ` (?1 = '' OR name = ?1 OR substr(name, 1, length(?1) + 1) = ?1 || '/')`

// Blobs lists the value of a name and those below it.
func (s Blobs) Blobs(ctx context.Context, name string) ([]blobs.Info, error) {
	return collect(ctx, s.db, query{
		"list the values",
		`SELECT name, length(value), changed FROM blobs WHERE` + below + ` ORDER BY name LIMIT ?2`,
		[]any{name, blobs.MaxList},
	}, func(row scanner) (blobs.Info, error) {
		var b blobs.Info
		var changed int64
		err := row.Scan(&b.Name, &b.Size, &changed)
		b.Changed = moment(changed)
		return b, err
	})
}

// DeleteBlobs removes the value of a name and those below it.
func (s Blobs) DeleteBlobs(ctx context.Context, name string) error {
	return s.db.exec(ctx, statement{what: "remove values", sql: `DELETE FROM blobs WHERE` + below}, name)
}

// TakeLock takes a lock.
func (s Locks) TakeLock(ctx context.Context, name string, now time.Time, ttl time.Duration) (fence int64, err error) {
	err = s.db.tx(ctx, "take a lock", func(tx *transaction) error {
		if fence, err = newEpoch(ctx, tx); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO locks (name, fence, until) VALUES (?1, ?2, ?3)
			ON CONFLICT (name) DO UPDATE SET fence = ?2, until = ?3 WHERE until <= ?4`,
			name, fence, millis(now.Add(ttl)), millis(now))
		return touched(res, err, blobs.ErrLocked)
	})
	return fence, err
}

// RenewLock extends a lock.
func (s Locks) RenewLock(ctx context.Context, l blobs.Lock, now time.Time, ttl time.Duration) error {
	return s.db.exec(ctx, statement{
		"renew a lock", blobs.ErrFenced, `UPDATE locks SET until = ? WHERE name = ? AND fence = ? AND until > ?`,
	}, millis(now.Add(ttl)), l.Name, l.Fence, millis(now))
}

// ReleaseLock releases a lock.
func (s Locks) ReleaseLock(ctx context.Context, l blobs.Lock) error {
	return s.db.exec(ctx, statement{
		what: "release a lock", sql: `DELETE FROM locks WHERE name = ? AND fence = ?`,
	}, l.Name, l.Fence)
}
