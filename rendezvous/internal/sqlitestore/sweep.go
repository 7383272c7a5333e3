package sqlitestore

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Sweep removes expired rows.
func (db *DB) Sweep(ctx context.Context, now time.Time) error {
	return db.tx(ctx, "sweep", func(tx *transaction) error {
		for _, step := range []struct {
			sql    string
			before time.Time
		}{
			{`DELETE FROM challenges WHERE expires <= ?`, now},
			{`DELETE FROM mailboxes WHERE expires <= ?`, now.Add(-mailboxes.Retention)},
			{`DELETE FROM invites WHERE expires <= ?`, now.Add(-peers.InviteRetention)},
			{`DELETE FROM admin_tokens WHERE expires <= ?`, now.Add(-administration.TokenRetention)},
			{`DELETE FROM approvals WHERE expires <= ?`, now},
			{`DELETE FROM join_requests WHERE at <= ?`, now.Add(-peers.JoinRequestTTL)},
			{`DELETE FROM admin_links WHERE expires <= ?`, now},
			{`DELETE FROM audit WHERE at <= ?`, now.Add(-audit.Retention)},
			{`DELETE FROM history WHERE at <= ?`, now.Add(-history.Retention)},
			{`DELETE FROM locks WHERE until <= ?`, now.Add(-blobs.LockRetention)},
			{`DELETE FROM instances WHERE lease_until <= ?`, now.Add(-presence.LeaseRetention)},
		} {
			if _, err := tx.ExecContext(ctx, step.sql, millis(step.before)); err != nil {
				return err
			}
		}
		if err := sweepEvents(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM relay_use WHERE day <= ?`, history.DayOf(now)-history.RelayUseDays)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM presence WHERE epoch NOT IN (SELECT epoch
			FROM instances)`); err != nil {
			return err
		}
		return sweepLinks(ctx, tx)
	})
}
