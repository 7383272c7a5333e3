package sqlitestore

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Clock returns the time of this machine's clock: no other instance uses the
// file.
func (s Leases) Clock(context.Context) (time.Time, error) { return time.Now(), nil }

// TakeLease makes this process the instance.
func (s Leases) TakeLease(
	ctx context.Context, i presence.Instance, now time.Time, ttl time.Duration,
) (epoch int64, err error) {
	err = s.db.tx(ctx, "take the lease", func(tx *transaction) error {
		if epoch, err = newEpoch(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO instances (name, epoch, address, region, relay, lease_until, version)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
			ON CONFLICT (name) DO UPDATE SET epoch = ?2, address = ?3, region = ?4, relay = ?5, lease_until = ?6,
			version = ?7`,
			i.Name, epoch, i.Address, i.Region, i.Relay, millis(now.Add(ttl)), i.Version)
		return err
	})
	return epoch, err
}

// newEpoch returns a number that it never returned before.
func newEpoch(ctx context.Context, tx *transaction) (epoch int64, err error) {
	if err := tx.QueryRowContext(ctx, `INSERT INTO epochs DEFAULT VALUES RETURNING epoch`).Scan(&epoch); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM epochs WHERE epoch < ?`, epoch)
	return epoch, err
}

// RenewLease extends a lease.
func (s Leases) RenewLease(ctx context.Context, h presence.Holder, now time.Time, ttl time.Duration) error {
	return s.db.exec(ctx, statement{
		"renew the lease", presence.ErrFenced,
		`UPDATE instances SET lease_until = ? WHERE name = ? AND epoch = ? AND lease_until > ?`,
	}, millis(now.Add(ttl)), h.Instance, h.Epoch, millis(now))
}

// ReleaseLease ends a lease and the presence under it.
func (s Leases) ReleaseLease(ctx context.Context, h presence.Holder) error {
	return s.db.tx(ctx, "release the lease", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM instances WHERE name = ? AND epoch = ?`, h.Instance, h.Epoch)
		if err := touched(res, err, presence.ErrFenced); err != nil {
			if errors.Is(err, presence.ErrFenced) {
				return nil
			}
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM presence WHERE epoch = ?`, h.Epoch)
		return err
	})
}

// Instances returns the instances that hold a lease.
func (s Leases) Instances(ctx context.Context, now time.Time) ([]presence.Instance, error) {
	return collect(ctx, s.db, query{"read the instances", `SELECT
			name, epoch, address, region, relay, lease_until, version
		FROM instances WHERE lease_until > ? ORDER BY name`, []any{millis(now)}},
		func(row scanner) (presence.Instance, error) {
			var i presence.Instance
			var until int64
			err := row.Scan(&i.Name, &i.Epoch, &i.Address, &i.Region, &i.Relay, &until, &i.Version)
			i.Until = moment(until)
			return i, err
		})
}

// checkHeld returns presence.ErrFenced unless the holder has its lease.
func checkHeld(ctx context.Context, tx *transaction, h presence.Holder, now time.Time) error {
	var held bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (
		SELECT 1 FROM instances WHERE name = ? AND epoch = ? AND lease_until > ?)`,
		h.Instance, h.Epoch, millis(now)).Scan(&held)
	if err == nil && !held {
		err = presence.ErrFenced
	}
	return err
}
