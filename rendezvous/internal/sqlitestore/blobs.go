package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PutBlob keeps a value.
func (s *Store) PutBlob(ctx context.Context, b registry.Blob, under *registry.Lock) error {
	if err := b.Check(); err != nil {
		return err
	}
	if b.Value == nil {
		b.Value = []byte{}
	}
	return s.tx(ctx, "keep a value", func(tx *transaction) error {
		if under != nil {
			var held bool
			err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM locks WHERE name = ? AND fence = ? AND until > ?)`,
				under.Name, under.Fence, millis(b.Changed)).Scan(&held)
			if err != nil {
				return err
			}
			if !held {
				return registry.ErrFenced
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO blobs (name, value, changed) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed = excluded.changed`, b.Name, b.Value, millis(b.Changed))
		return err
	})
}

// Blob returns a value.
func (s *Store) Blob(ctx context.Context, name string) (registry.Blob, error) {
	b := registry.Blob{Name: name}
	var changed int64
	err := s.read.QueryRowContext(ctx, `SELECT value, changed FROM blobs WHERE name = ?`, name).Scan(&b.Value, &changed)
	if errors.Is(err, sql.ErrNoRows) {
		err = registry.ErrBlobNotFound
	}
	b.Changed = moment(changed)
	return b, failed("read a value", err)
}

// below selects the value of a name and those below it.
const below = ` (?1 = '' OR name = ?1 OR substr(name, 1, length(?1) + 1) = ?1 || '/')`

// Blobs tells of the values of a name and below it.
func (s *Store) Blobs(ctx context.Context, name string) ([]registry.BlobInfo, error) {
	const what = "list the values"
	rows, err := s.read.QueryContext(ctx, `SELECT name, length(value), changed FROM blobs WHERE`+below+` ORDER BY name LIMIT ?2`, name, registry.MaxBlobs)
	if err != nil {
		return nil, failed(what, err)
	}
	return collect(rows, what, func(rows *sql.Rows) (registry.BlobInfo, error) {
		var b registry.BlobInfo
		var changed int64
		err := rows.Scan(&b.Name, &b.Size, &changed)
		b.Changed = moment(changed)
		return b, err
	})
}

// DeleteBlobs removes the values of a name and below it.
func (s *Store) DeleteBlobs(ctx context.Context, name string) error {
	_, err := s.write.ExecContext(ctx, `DELETE FROM blobs WHERE`+below, name)
	return failed("remove values", err)
}

// TakeLock takes a lock.
func (s *Store) TakeLock(ctx context.Context, name string, now time.Time, ttl time.Duration) (fence int64, err error) {
	err = s.tx(ctx, "take a lock", func(tx *transaction) error {
		if fence, err = newEpoch(ctx, tx); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO locks (name, fence, until) VALUES (?1, ?2, ?3)
			ON CONFLICT (name) DO UPDATE SET fence = ?2, until = ?3 WHERE until <= ?4`, name, fence, millis(now.Add(ttl)), millis(now))
		return oneRow(res, err, registry.ErrLocked)
	})
	return fence, err
}

// RenewLock prolongs a lock.
func (s *Store) RenewLock(ctx context.Context, l registry.Lock, now time.Time, ttl time.Duration) error {
	res, err := s.write.ExecContext(ctx, `UPDATE locks SET until = ? WHERE name = ? AND fence = ? AND until > ?`,
		millis(now.Add(ttl)), l.Name, l.Fence, millis(now))
	return failed("renew a lock", oneRow(res, err, registry.ErrFenced))
}

// ReleaseLock ends a lock.
func (s *Store) ReleaseLock(ctx context.Context, l registry.Lock) error {
	_, err := s.write.ExecContext(ctx, `DELETE FROM locks WHERE name = ? AND fence = ?`, l.Name, l.Fence)
	return failed("release a lock", err)
}
