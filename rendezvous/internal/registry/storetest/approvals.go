package storetest

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func approvedPeerNeedsNoInvite(t *testing.T, s registry.Store) {
	ctx := t.Context()
	e := event(registry.EventPeerApproved)
	approve := func(n int) error {
		return s.Approve(ctx, registry.Approval{Peer: id(n), Expires: start.Add(time.Hour)}, 3, e)
	}
	join := func(n, challenge int, now time.Time) error {
		a := admission(n, challenge)
		a.Open, a.Now = false, now
		_, err := s.Admit(ctx, a)
		return err
	}
	is(t, "not approved", join(1, 1, start), registry.ErrInviteNeeded)
	must(t, "approve", approve(1))
	must(t, "approve again", approve(1))
	is(t, "another", join(2, 2, start), registry.ErrInviteNeeded)
	is(t, "too late", join(1, 3, start.Add(time.Hour)), registry.ErrInviteNeeded)
	is(t, "approved", join(1, 1, start), nil)
	is(t, "renewed", join(1, 4, start), nil)
	must(t, "revoke", revoke(t, s, 1, 0))
	must(t, "readmit", s.Readmit(ctx, id(1), event(registry.EventPeerReadmitted)))
	is(t, "once more", join(1, 5, start), registry.ErrInviteNeeded)

	ok, failed := race(8, func(i int) error { return approve(10 + i) })
	equal(t, "approved at once", ok, 3)
	for _, err := range failed {
		is(t, "one too many", err, registry.ErrApprovalLimit)
	}
	first, err := s.Approvals(ctx, registry.Approval{}.Peer, 2)
	must(t, "list", err)
	rest, err := s.Approvals(ctx, first[1].Peer, 2)
	must(t, "list", err)
	equal(t, "listed", len(first)+len(rest), 3)
	equal(t, "expires", rest[0].Expires, start.Add(time.Hour))
	must(t, "disapprove", s.Disapprove(ctx, rest[0].Peer, event(registry.EventPeerDisapproved)))
	is(t, "disapprove again", s.Disapprove(ctx, rest[0].Peer, event(registry.EventPeerDisapproved)), registry.ErrPeerNotFound)
	must(t, "sweep", s.Sweep(ctx, start.Add(time.Hour)))
	first, err = s.Approvals(ctx, registry.Approval{}.Peer, 2)
	must(t, "list", err)
	equal(t, "left", len(first), 0)
}
