package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// PutBlob keeps a value. The row of the lock is held until it is written, so
// that nobody takes the lock between.
func (s *Store) PutBlob(ctx context.Context, b registry.Blob, under *registry.Lock) error {
	if err := b.Check(); err != nil {
		return err
	}
	const put = ` ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed = excluded.changed`
	if b.Value == nil {
		b.Value = []byte{}
	}
	if under == nil {
		_, err := s.pool.Exec(ctx, `INSERT INTO blobs (name, value, changed) VALUES ($1, $2, $3)`+put, b.Name, b.Value, millis(b.Changed))
		return s.failed("keep a value", err)
	}
	return s.one(ctx, "keep a value", registry.ErrFenced, `WITH held AS (
			SELECT 1 FROM locks WHERE name = $4 AND fence = $5 AND until > greatest($3, `+clock+`) FOR SHARE
		)
		INSERT INTO blobs (name, value, changed) SELECT $1, $2, $3 FROM held`+put,
		b.Name, b.Value, millis(b.Changed), under.Name, under.Fence)
}

// Blob returns a value.
func (s *Store) Blob(ctx context.Context, name string) (registry.Blob, error) {
	b := registry.Blob{Name: name}
	var changed int64
	err := s.pool.QueryRow(ctx, `SELECT value, changed FROM blobs WHERE name = $1`, name).Scan(&b.Value, &changed)
	b.Changed = moment(changed)
	return b, s.failed("read a value", none(err, registry.ErrBlobNotFound))
}

// below selects the value of a name and those below it.
const below = ` ($1 = '' OR name = $1 OR starts_with(name, $1 || '/'))`

// Blobs tells of the values of a name and below it.
func (s *Store) Blobs(ctx context.Context, name string) ([]registry.BlobInfo, error) {
	const query = `SELECT name, length(value), changed FROM blobs WHERE` + below + ` ORDER BY name LIMIT $2`
	return collect(ctx, s, "list the values", func(row pgx.CollectableRow) (registry.BlobInfo, error) {
		var b registry.BlobInfo
		var changed int64
		err := row.Scan(&b.Name, &b.Size, &changed)
		b.Changed = moment(changed)
		return b, err
	}, query, name, registry.MaxBlobs)
}

// DeleteBlobs removes the values of a name and below it.
func (s *Store) DeleteBlobs(ctx context.Context, name string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM blobs WHERE`+below, name)
	return s.failed("remove values", err)
}

// TakeLock takes a lock.
func (s *Store) TakeLock(ctx context.Context, name string, now time.Time, ttl time.Duration) (fence int64, err error) {
	err = s.pool.QueryRow(ctx, `INSERT INTO locks (name, fence, until) VALUES ($1, nextval('epochs'), greatest($2, `+clock+`) + $3)
		ON CONFLICT (name) DO UPDATE SET fence = excluded.fence, until = excluded.until WHERE locks.until <= greatest($2, `+clock+`)
		RETURNING fence`, name, millis(now), ttl.Milliseconds()).Scan(&fence)
	return fence, s.failed("take a lock", none(err, registry.ErrLocked))
}

// RenewLock prolongs a lock.
func (s *Store) RenewLock(ctx context.Context, l registry.Lock, now time.Time, ttl time.Duration) error {
	return s.one(ctx, "renew a lock", registry.ErrFenced, `UPDATE locks SET until = greatest($1, `+clock+`) + $2
		WHERE name = $3 AND fence = $4 AND until > greatest($1, `+clock+`)`, millis(now), ttl.Milliseconds(), l.Name, l.Fence)
}

// ReleaseLock ends a lock.
func (s *Store) ReleaseLock(ctx context.Context, l registry.Lock) error {
	return s.one(ctx, "release a lock", nil, `DELETE FROM locks WHERE name = $1 AND fence = $2`, l.Name, l.Fence)
}
