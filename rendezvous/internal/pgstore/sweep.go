package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// sweepChunk bounds the rows that one statement of Sweep removes, so that it
// holds no lock for long.
const sweepChunk = 5000

// Sweep removes expired rows.
func (db *DB) Sweep(ctx context.Context, now time.Time) error {
	for _, step := range []struct {
		sql    string
		before time.Time
	}{
		{`DELETE FROM challenges WHERE random IN (SELECT random FROM challenges WHERE expires <= $1 LIMIT $2)`, now},
		{
			`DELETE FROM mailboxes WHERE address IN (SELECT address FROM mailboxes WHERE expires <= $1 LIMIT $2)`,
			now.Add(-mailboxes.Retention),
		},
		{
			`DELETE FROM invites WHERE hash IN (SELECT hash FROM invites WHERE expires <= $1 LIMIT $2)`,
			now.Add(-peers.InviteRetention),
		},
		{
			`DELETE FROM admin_tokens WHERE id IN (SELECT id FROM admin_tokens WHERE expires <= $1 LIMIT $2)`,
			now.Add(-administration.TokenRetention),
		},
		{`DELETE FROM approvals WHERE peer IN (SELECT peer FROM approvals WHERE expires <= $1 LIMIT $2)`, now},
		{
			`DELETE FROM join_requests WHERE peer IN (SELECT peer FROM join_requests WHERE at <= $1 LIMIT $2)
				AND at <= $1`,
			now.Add(-peers.JoinRequestTTL),
		},
		{`DELETE FROM admin_links WHERE hash IN (SELECT hash FROM admin_links WHERE expires <= $1 LIMIT $2)`, now},
		{
			`DELETE FROM history WHERE ctid IN (SELECT ctid FROM history WHERE at <= $1 LIMIT $2)`,
			now.Add(-history.Retention),
		},
		{`DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at <= $1 LIMIT $2)`, now.Add(-audit.Retention)},
		{
			`DELETE FROM locks WHERE name IN (SELECT name FROM locks WHERE until <= $1 LIMIT $2) AND until <= $1`,
			now.Add(-blobs.LockRetention),
		},
		{
			`DELETE FROM instances WHERE name IN (SELECT name FROM instances WHERE lease_until <= $1 LIMIT $2)
				AND lease_until <= $1`,
			now.Add(-presence.LeaseRetention),
		},
	} {
		if err := inChunks(ctx, db, step.sql, millis(step.before)); err != nil {
			return err
		}
	}
	if err := sweepEvents(ctx, db); err != nil {
		return err
	}
	const relayUse = `DELETE FROM relay_use WHERE ctid IN (SELECT ctid FROM relay_use WHERE day <= $1 LIMIT $2)`
	if err := inChunks(ctx, db, relayUse, int64(history.DayOf(now)-history.RelayUseDays)); err != nil {
		return err
	}
	if err := sweepPresence(ctx, db); err != nil {
		return err
	}
	return sweepLinks(ctx, db)
}

// sweepPresence removes the presence under leases that are gone, epoch by epoch:
// a peer that reconnects meanwhile has another epoch and is not affected.
func sweepPresence(ctx context.Context, db *DB) error {
	// The recursion reads only the distinct values of the index.
	epochs, err := collect(ctx, db, query{"find lapsed presence", `WITH RECURSIVE e AS (
			SELECT min(epoch) AS epoch FROM presence
			UNION ALL
			SELECT (SELECT min(epoch) FROM presence p WHERE p.epoch > e.epoch) FROM e WHERE e.epoch IS NOT NULL
		)
		SELECT epoch FROM e WHERE epoch IS NOT NULL AND NOT EXISTS (
			SELECT 1 FROM instances i WHERE i.epoch = e.epoch)`, nil},
		pgx.RowTo[int64])
	if err != nil {
		return err
	}
	for _, epoch := range epochs {
		const sql = `DELETE FROM presence WHERE peer IN (SELECT peer FROM presence WHERE epoch = $1 LIMIT $2)
			AND epoch = $1`
		if err := inChunks(ctx, db, sql, epoch); err != nil {
			return err
		}
	}
	return nil
}

// inChunks repeats a statement until it removes less than sweepChunk rows. Its
// second parameter bounds the rows.
func inChunks(ctx context.Context, db *DB, sql string, arg int64) error {
	for {
		tag, err := db.pool.Exec(ctx, sql, arg, sweepChunk)
		if err != nil || tag.RowsAffected() < sweepChunk {
			return db.failed("sweep", err)
		}
	}
}
