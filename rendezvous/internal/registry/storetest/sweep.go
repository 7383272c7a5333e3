package storetest

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// sweepRemovesExpiredRows checks that a sweep removes rows whose retention has ended, and no others.
func sweepRemovesExpiredRows(t *testing.T, db *database.Database) {
	ctx := t.Context()
	_, err := db.Admissions.Admit(ctx, admission(1, 1))
	must(t, "admit", err)
	must(t, "mailbox", db.Mailboxes.CreateMailbox(ctx, mailbox(box, 1), roomy))
	_, err = db.Mailboxes.AddTry(ctx, box, attempt(2, "o"), 3)
	must(t, "try", err)
	putInvite(t, db, 1, 0)
	a := take(t, db, "a", start)
	must(t, "presence", putPresence(t, db, a, start, at(start, 1)))

	must(t, "sweep early", db.Sweep(ctx, start))
	_, err = db.Admissions.Admit(ctx, admission(1, 1))
	is(t, "the challenge before it expires", err, peers.ErrReplayed)
	_, err = db.Mailboxes.Mailbox(ctx, box)
	is(t, "the mailbox", err, nil)
	equal(t, "presence", locate(t, db, 1, start), "a")

	must(t, "sweep", db.Sweep(ctx, start.Add(time.Minute)))
	_, err = db.Mailboxes.Mailbox(ctx, box)
	is(t, "the mailbox that just expired", err, nil)
	equal(t, "a lease that has just lapsed", locate(t, db, 1, start), "a")

	must(t, "sweep much later", db.Sweep(ctx, start.Add(30*24*time.Hour)))
	_, err = db.Mailboxes.Mailbox(ctx, box)
	is(t, "the mailbox later", err, mailboxes.ErrNotFound)
	tries, err := db.Mailboxes.Tries(ctx, box)
	must(t, "tries", err)
	equal(t, "tries", len(tries), 0)
	invites, err := db.Invites.Invites(ctx, registry.Page{Limit: 10})
	must(t, "invites", err)
	equal(t, "invites", len(invites), 0)
	is(t, "the lease", db.Leases.RenewLease(ctx, a, start, ttl), presence.ErrFenced)
	_, err = db.Admissions.Admit(ctx, admission(1, 1))
	is(t, "the challenge after it expired", err, nil)
	_, err = db.Peers.Peer(ctx, id(1))
	is(t, "the peer", err, nil)
}
