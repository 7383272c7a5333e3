package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
)

// PutBlob keeps a value. With a lock, the statement holds the row of the lock
// until the value is written, so that no process takes the lock in between.
func (s Blobs) PutBlob(ctx context.Context, b blobs.Blob, under *blobs.Lock) error {
	if err := b.Check(); err != nil {
		return err
	}
	const replace = ` ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed = excluded.changed`
	if b.Value == nil {
		b.Value = []byte{}
	}
	if under == nil {
		return s.db.exec(ctx, statement{
			what: "keep a value", sql: `INSERT INTO blobs (name, value, changed) VALUES ($1, $2, $3)` + replace,
		}, b.Name, b.Value, millis(b.Changed))
	}
	return s.db.exec(ctx, statement{"keep a value", blobs.ErrFenced, `WITH held AS (
			SELECT 1 FROM locks WHERE name = $4 AND fence = $5 AND until > greatest($3, ` + clock + `) FOR SHARE
		)
		INSERT INTO blobs (name, value, changed) SELECT $1, $2, $3 FROM held` + replace},
		b.Name, b.Value, millis(b.Changed), under.Name, under.Fence)
}

// Blob returns a value.
func (s Blobs) Blob(ctx context.Context, name string) (blobs.Blob, error) {
	b := blobs.Blob{Name: name}
	var changed int64
	err := s.db.pool.QueryRow(ctx, `SELECT value, changed FROM blobs WHERE name = $1`, name).Scan(&b.Value, &changed)
	b.Changed = moment(changed)
	return b, s.db.failed("read a value", none(err, blobs.ErrNotFound))
}

// below selects the value of a name and those below it.
const below = ` ($1 = '' OR name = $1 OR starts_with(name, $1 || '/'))`

// Blobs lists the value of a name and those below it.
func (s Blobs) Blobs(ctx context.Context, name string) ([]blobs.Info, error) {
	return collect(ctx, s.db, query{
		"list the values",
		`SELECT name, length(value), changed FROM blobs WHERE` + below + ` ORDER BY name LIMIT $2`,
		[]any{name, blobs.MaxList},
	}, func(row pgx.CollectableRow) (blobs.Info, error) {
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
	err = s.db.pool.QueryRow(ctx, `INSERT INTO locks (name, fence, until)
		VALUES ($1, nextval('epochs'), greatest($2, `+clock+`) + $3)
		ON CONFLICT (name) DO UPDATE SET fence = excluded.fence, until = excluded.until
		WHERE locks.until <= greatest($2, `+clock+`)
		RETURNING fence`, name, millis(now), ttl.Milliseconds()).Scan(&fence)
	return fence, s.db.failed("take a lock", none(err, blobs.ErrLocked))
}

// RenewLock extends a lock.
func (s Locks) RenewLock(ctx context.Context, l blobs.Lock, now time.Time, ttl time.Duration) error {
	return s.db.exec(ctx, statement{"renew a lock", blobs.ErrFenced, `UPDATE locks
		SET until = greatest($1, ` + clock + `) + $2
		WHERE name = $3 AND fence = $4 AND until > greatest($1, ` + clock + `)`},
		millis(now), ttl.Milliseconds(), l.Name, l.Fence)
}

// ReleaseLock releases a lock.
func (s Locks) ReleaseLock(ctx context.Context, l blobs.Lock) error {
	return s.db.exec(ctx, statement{
		what: "release a lock", sql: `DELETE FROM locks WHERE name = $1 AND fence = $2`,
	}, l.Name, l.Fence)
}
