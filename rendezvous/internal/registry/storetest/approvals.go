package storetest

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// approvedPeerRegistersOnce checks that an approval admits its peer once and until it expires, and that
// approvals are bounded and listed.
func approvedPeerRegistersOnce(t *testing.T, db *database.Database) {
	ctx := t.Context()
	e := event(audit.KindPeerApproved)
	approve := func(n int) error {
		return db.Approvals.Approve(ctx, peers.Approval{Peer: id(n), Expires: start.Add(time.Hour)}, 3, e)
	}
	join := func(n, challenge int, now time.Time) error {
		a := admission(n, challenge)
		a.Open, a.Now = false, now
		_, err := db.Admissions.Admit(ctx, a)
		return err
	}
	is(t, "not approved", join(1, 1, start), peers.ErrInviteNeeded)
	must(t, "approve", approve(1))
	must(t, "approve again", approve(1))
	is(t, "another peer", join(2, 2, start), peers.ErrInviteNeeded)
	is(t, "too late", join(1, 3, start.Add(time.Hour)), peers.ErrInviteNeeded)
	is(t, "approved", join(1, 1, start), nil)
	is(t, "renewed", join(1, 4, start), nil)
	must(t, "revoke", revoke(t, db, 1, 0))
	must(t, "readmit", db.Revocations.Readmit(ctx, id(1), event(audit.KindPeerReadmitted)))
	is(t, "a second registration", join(1, 5, start), peers.ErrInviteNeeded)

	ok, failed := race(8, func(i int) error { return approve(10 + i) })
	equal(t, "concurrent approvals", ok, 3)
	for _, err := range failed {
		is(t, "one beyond the bound", err, peers.ErrApprovalLimit)
	}
	first, err := db.Approvals.Approvals(ctx, peers.Approval{}.Peer, 2)
	must(t, "list", err)
	rest, err := db.Approvals.Approvals(ctx, first[1].Peer, 2)
	must(t, "list", err)
	equal(t, "listed", len(first)+len(rest), 3)
	equal(t, "expires", rest[0].Expires, start.Add(time.Hour))
	must(t, "disapprove", db.Approvals.Disapprove(ctx, rest[0].Peer, event(audit.KindPeerDisapproved)))
	is(t, "disapprove again", db.Approvals.Disapprove(ctx, rest[0].Peer, event(audit.KindPeerDisapproved)),
		peers.ErrNotFound)
	must(t, "sweep", db.Sweep(ctx, start.Add(time.Hour)))
	first, err = db.Approvals.Approvals(ctx, peers.Approval{}.Peer, 2)
	must(t, "list", err)
	equal(t, "remaining", len(first), 0)
}
