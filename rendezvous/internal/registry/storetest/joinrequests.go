package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// joinRequest returns a join request of the nth peer.
func joinRequest(n int, after time.Duration) peers.JoinRequest {
	return peers.JoinRequest{Peer: id(n), Source: fmt.Sprint("192.0.2.", n), At: start.Add(after)}
}

func listJoinRequests(t *testing.T, db *database.Database, now time.Time, limit int) []peers.JoinRequest {
	t.Helper()
	all, err := db.JoinRequests.JoinRequests(t.Context(), now, limit)
	must(t, "list", err)
	return all
}

// joinRequestsAreListed checks that the requests of peers that can be approved are listed, newest
// first, for a day.
func joinRequestsAreListed(t *testing.T, db *database.Database) {
	ctx := t.Context()
	put := func(max int, all ...peers.JoinRequest) {
		t.Helper()
		must(t, "put", db.JoinRequests.PutJoinRequests(ctx, all, max))
	}
	check := func(what string, now time.Time, want ...peers.JoinRequest) {
		t.Helper()
		if got := listJoinRequests(t, db, now, 10); !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	check("none", start)
	put(10)
	put(10, joinRequest(1, 0), joinRequest(2, time.Second), joinRequest(3, 2*time.Second))
	check("newest first", start, joinRequest(3, 2*time.Second), joinRequest(2, time.Second), joinRequest(1, 0))
	if got := listJoinRequests(t, db, start, 1); !slices.Equal(got, []peers.JoinRequest{joinRequest(3,
		2*time.Second)}) {
		t.Errorf("with a limit of 1: got %+v", got)
	}
	again := joinRequest(1, 3*time.Second)
	again.Source = ""
	put(10, again)
	put(10, joinRequest(1, 0)) // a late write of another instance
	check("a second try replaces the first", start, again, joinRequest(3, 2*time.Second), joinRequest(2, time.Second))

	admit(t, db, 3)
	check("without registered peers", start, again, joinRequest(2, time.Second))
	a := peers.Approval{Peer: id(2), Expires: start.Add(time.Hour)}
	must(t, "approve", db.Approvals.Approve(ctx, a, 10, event(audit.KindPeerApproved)))
	check("without approved peers", start, again)
	check("after the approval expired", start.Add(time.Hour), again, joinRequest(2, time.Second))
	must(t, "disapprove", db.Approvals.Disapprove(ctx, id(2), event(audit.KindPeerDisapproved)))
	check("after the approval was taken back", start, again, joinRequest(2, time.Second))

	check("a day after the second try", start.Add(peers.JoinRequestTTL+time.Second), again)
	must(t, "sweep", db.Sweep(ctx, start.Add(peers.JoinRequestTTL+time.Second)))
	check("after the sweep", start, again)
}

// joinRequestsAreBounded checks that only the newest requests are kept.
func joinRequestsAreBounded(t *testing.T, db *database.Database) {
	var all []peers.JoinRequest
	for n := range 8 {
		all = append(all, joinRequest(n, time.Duration(n)*time.Second))
	}
	ok, failed := race(4, func(i int) error { return db.JoinRequests.PutJoinRequests(t.Context(), all[2*i:2*i+2], 3) })
	if ok != 4 {
		t.Errorf("concurrent writes: %v", failed)
	}
	must(t, "put", db.JoinRequests.PutJoinRequests(t.Context(), all, 3))
	if got, want := listJoinRequests(t, db, start, 10), []peers.JoinRequest{
		all[7], all[6],
		all[5],
	}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := db.JoinRequests.PutJoinRequests(t.Context(), make([]peers.JoinRequest, registry.MaxBatch+1),
		3); err == nil {
		t.Error("a batch beyond the bound was accepted")
	}
}
