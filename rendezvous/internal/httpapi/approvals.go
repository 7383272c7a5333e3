package httpapi

import (
	"context"
	"net/http"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerApprovals() {
	mount(s, http.MethodGet, api.PathAsking, operation{
		id: "list-asking", summary: "Peers that were refused lately because they had no invite, and may be approved",
	}, s.listAsking)
	mount(s, http.MethodGet, api.PathApprovals, operation{id: "list-approvals", summary: "The approvals that were not used yet, ordered by ID"}, s.listApprovals)
	mount(s, http.MethodPut, api.PathApproval, operation{
		id: "approve-peer", summary: "Let a peer register once without an invite, within a week", codes: []api.Code{api.CodeApprovalLimit},
	}, s.approvePeer)
	mount(s, http.MethodDelete, api.PathApproval, operation{
		id: "disapprove-peer", summary: "Take that back before it was used", codes: []api.Code{api.CodePeerNotFound},
	}, s.disapprovePeer)
}

func (s *server) listAsking(ctx context.Context, _ *nothing) (*output[api.AskingPeers], error) {
	all, err := s.cfg.Registry.Asking(ctx)
	list := api.AskingPeers{Peers: []api.AskingPeer{}}
	for _, a := range all {
		list.Peers = append(list.Peers, api.AskingPeer{Peer: a.Peer, Source: a.Source, Last: a.Last.UTC()})
	}
	return &output[api.AskingPeers]{list}, err
}

func wireApproval(a registry.Approval) api.Approval {
	return api.Approval{Peer: a.Peer, Expires: a.Expires.UTC()}
}

func (s *server) listApprovals(ctx context.Context, in *Paging) (*output[api.Approvals], error) {
	after, err := in.peer()
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Registry.Approvals(ctx, after, in.Limit+1)
	all, next := cut(all, in.Limit, func(a registry.Approval) string { return a.Peer.String() })
	list := api.Approvals{Approvals: []api.Approval{}, Next: next}
	for _, a := range all {
		list.Approvals = append(list.Approvals, wireApproval(a))
	}
	return &output[api.Approvals]{list}, err
}

func (s *server) approvePeer(ctx context.Context, in *InPeer) (*output[api.Approval], error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	a, err := s.cfg.Registry.Approve(ctx, id)
	return &output[api.Approval]{wireApproval(a)}, err
}

func (s *server) disapprovePeer(ctx context.Context, in *InPeer) (*nothing, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.Disapprove(ctx, id)
}
