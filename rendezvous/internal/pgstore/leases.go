package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// clock is the database's own time as a bigint. A statement may arrive late, so
// leases are compared with this clock in addition to the caller's time.
const clock = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// Clock returns the time of the database's clock.
func (s Leases) Clock(ctx context.Context) (time.Time, error) {
	var now int64
	err := s.db.pool.QueryRow(ctx, `SELECT `+clock).Scan(&now)
	return moment(now), s.db.failed("read the clock", err)
}

// TakeLease makes this process the instance.
func (s Leases) TakeLease(
	ctx context.Context, i presence.Instance, now time.Time, ttl time.Duration,
) (epoch int64, err error) {
	err = s.db.pool.QueryRow(ctx, `INSERT INTO instances (name, epoch, address, region, relay, lease_until, version)
		VALUES ($1, nextval('epochs'), $2, $3, $4, greatest($5, `+clock+`) + $6, $7)
		ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, address = excluded.address, region = excluded.region,
			relay = excluded.relay, lease_until = excluded.lease_until, version = excluded.version
		RETURNING epoch`, i.Name, i.Address, i.Region, i.Relay, millis(now), ttl.Milliseconds(), i.Version).Scan(&epoch)
	return epoch, s.db.failed("take the lease", err)
}

// RenewLease extends a lease.
func (s Leases) RenewLease(ctx context.Context, h presence.Holder, now time.Time, ttl time.Duration) error {
	return s.db.exec(ctx, statement{
		"renew the lease", presence.ErrFenced,
		`UPDATE instances SET lease_until = greatest($1, ` + clock + `) + $2
		WHERE name = $3 AND epoch = $4 AND lease_until > greatest($1, ` + clock + `)`,
	},
		millis(now), ttl.Milliseconds(), h.Instance, h.Epoch)
}

// ReleaseLease ends a lease. The presence under it no longer counts; Sweep
// removes it.
func (s Leases) ReleaseLease(ctx context.Context, h presence.Holder) error {
	return s.db.exec(ctx, statement{
		what: "release the lease", sql: `DELETE FROM instances WHERE name = $1 AND epoch = $2`,
	}, h.Instance, h.Epoch)
}

// Instances returns the instances that hold a lease.
func (s Leases) Instances(ctx context.Context, now time.Time) ([]presence.Instance, error) {
	return collect(ctx, s.db, query{"read the instances", `SELECT
			name, epoch, address, region, relay, lease_until, version
		FROM instances WHERE lease_until > greatest($1, ` + clock + `) ORDER BY name`, []any{millis(now)}},
		func(row pgx.CollectableRow) (presence.Instance, error) {
			var i presence.Instance
			var until int64
			err := row.Scan(&i.Name, &i.Epoch, &i.Address, &i.Region, &i.Relay, &until, &i.Version)
			i.Until = moment(until)
			return i, err
		})
}
