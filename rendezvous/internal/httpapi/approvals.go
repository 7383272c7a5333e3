package httpapi

import (
	"context"
	"net/http"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// approvalHandler approves peers that have no invite.
type approvalHandler struct {
	approvals Approvals
	requests  JoinRequests
}

func (h *approvalHandler) mount(e *endpoints) {
	mount(e, http.MethodGet, api.PathJoinRequests, operation{
		id: "list-asking", summary: "List the peers that were refused recently because they had no invite",
	}, h.listRequests)
	mount(e, http.MethodGet, api.PathApprovals, operation{
		id: "list-approvals", summary: "List the approvals that are not used yet, ordered by ID",
	}, h.list)
	mount(e, http.MethodPut, api.PathApproval, operation{
		id: "approve-peer", summary: "Allow a peer to register once without an invite, within a week",
		codes: []api.Code{api.CodeApprovalLimit},
	}, h.approve)
	mount(e, http.MethodDelete, api.PathApproval, operation{
		id: "disapprove-peer", summary: "Withdraw an approval that is not used yet",
		codes: []api.Code{api.CodePeerNotFound},
	}, h.disapprove)
}

func (h *approvalHandler) listRequests(ctx context.Context, _ *empty) (*output[api.JoinRequests], error) {
	all, err := h.requests.JoinRequests(ctx)
	list := api.JoinRequests{Peers: []api.JoinRequest{}}
	for _, a := range all {
		list.Peers = append(list.Peers, api.JoinRequest{Peer: a.Peer, Source: a.Source, Last: a.At.UTC()})
	}
	return &output[api.JoinRequests]{list}, err
}

func wireApproval(a peers.Approval) api.Approval {
	return api.Approval{Peer: a.Peer, Expires: a.Expires.UTC()}
}

func (h *approvalHandler) list(ctx context.Context, in *PageQuery) (*output[api.Approvals], error) {
	after, err := in.peer()
	if err != nil {
		return nil, err
	}
	all, err := h.approvals.Approvals(ctx, after, in.Limit+1)
	all, next := cut(all, in.Limit, func(a peers.Approval) string { return a.Peer.String() })
	list := api.Approvals{Approvals: []api.Approval{}, Next: next}
	for _, a := range all {
		list.Approvals = append(list.Approvals, wireApproval(a))
	}
	return &output[api.Approvals]{list}, err
}

func (h *approvalHandler) approve(ctx context.Context, in *PeerParam) (*output[api.Approval], error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	a, err := h.approvals.Approve(ctx, id)
	return &output[api.Approval]{wireApproval(a)}, err
}

func (h *approvalHandler) disapprove(ctx context.Context, in *PeerParam) (*empty, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	return nil, h.approvals.Disapprove(ctx, id)
}
