//go:build unix

package httpapi_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/httpapi"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/services"
)

func TestApprovedPeerNeedsNoInvite(t *testing.T) {
	onBothStores(t, func(t *testing.T, store *database.Database) {
		b := newBench(t, store, func(rc *services.Config, _ *httpapi.Config) { rc.Open = false })
		token := b.admin(api.ScopePeers)
		join := func(n int) answer {
			return b.post(api.PathPeers, "", b.registration(newKey(t, n), "name"))
		}
		first, second := newKey(t, 1).ID(), newKey(t, 2).ID()
		refused(t, "not approved", join(1), api.CodeInviteNeeded)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.services.Run(ctx); err != nil { // stores the refusals
			t.Fatal(err)
		}
		requests := func() []api.JoinRequest {
			return as[api.JoinRequests](t, b.get(api.PathJoinRequests, token), http.StatusOK).Peers
		}
		if all := requests(); len(all) != 1 ||
			all[0] != (api.JoinRequest{Peer: first, Source: "127.0.0.1", Last: b.clock.Now().UTC()}) {
			t.Errorf("requests %+v", all)
		}
		for range 2 {
			got := as[api.Approval](t, b.put(api.ApprovalPath(first), token, nil), http.StatusOK)
			want := api.Approval{Peer: first, Expires: b.clock.Now().Add(peers.ApprovalTTL).UTC()}
			if got != want {
				t.Errorf("approved %+v, want %+v", got, want)
			}
		}
		if all := requests(); len(all) != 0 {
			t.Errorf("requests of approved peers: %+v", all)
		}
		as[api.Approval](t, b.put(api.ApprovalPath(second), token, nil), http.StatusOK)
		list := as[api.Approvals](t, b.get(api.PathApprovals+"?limit=1", token), http.StatusOK)
		rest := as[api.Approvals](t, b.get(api.PathApprovals+"?limit=1&after="+list.Next, token), http.StatusOK)
		if len(list.Approvals) != 1 || len(rest.Approvals) != 1 || rest.Next != "" ||
			list.Approvals[0].Peer == rest.Approvals[0].Peer {
			t.Errorf("pages %+v and %+v", list, rest)
		}
		as[api.RegisterResult](t, join(1), http.StatusCreated)
		if a := b.delete(api.ApprovalPath(second), token); a.status != http.StatusNoContent {
			t.Errorf("disapprove: %d %s", a.status, a.body)
		}
		refused(t, "withdrawn", join(2), api.CodeInviteNeeded)
		refused(t, "withdrawn again", b.delete(api.ApprovalPath(second), token), api.CodePeerNotFound)
		refused(t, "a bad ID", b.put(api.PathApprovals+"/x", token, nil), api.CodeInvalid)
		refused(t, "a bad cursor", b.get(api.PathApprovals+"?after=x", token), api.CodeInvalid)

		as[api.Approval](t, b.put(api.ApprovalPath(second), token, nil), http.StatusOK)
		b.clock.Move(peers.ApprovalTTL)
		refused(t, "too late", join(2), api.CodeInviteNeeded)
	})
}
