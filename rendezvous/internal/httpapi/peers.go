package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// PeerParam is a peer in the URL path. It is text because it may be "self", and
// because the answer to a mistyped ID differs from the answer to an unknown one.
//
// huma fills in an embedded struct only if its name is exported; that holds for
// the other parameters too.
type PeerParam struct {
	ID string `path:"id" maxLength:"80" doc:"a PeerID"`
}

func (in PeerParam) peer() (ident.PeerID, error) {
	id, err := ident.ParsePeerID(in.ID)
	if err != nil {
		return id, invalid("path.id", "not a PeerID: a character is missing or mistyped")
	}
	return id, nil
}

// peerHandler lets peers find each other and change their own entry.
type peerHandler struct {
	peers       Peers
	revocations Revocations
	views       peerViews
}

func (h *peerHandler) mount(e *endpoints) {
	notFound := []api.Code{api.CodePeerNotFound}
	mount(e, http.MethodGet, api.PathPeer, operation{
		id: "get-peer", summary: "Find a peer that allows the caller; the ID self stands for the caller",
		codes: notFound,
	}, h.peer)
	mount(e, http.MethodPatch, api.PathSelf, operation{
		id: "rename", summary: "Change the caller's name", codes: slices.Concat(withBody, notFound),
	}, h.rename)
	mount(e, http.MethodDelete, api.PathSelf, operation{
		id:      "leave",
		summary: "Delete the caller's registration and permissions; the caller closes its signalling connection itself",
	}, h.leave)
}

func (h *peerHandler) peer(ctx context.Context, in *PeerParam) (*output[api.Peer], error) {
	id := caller(ctx)
	if in.ID != "self" {
		var err error
		if id, err = in.peer(); err != nil {
			return nil, err
		}
	}
	p, err := h.peers.Lookup(ctx, peers.Permission{Owner: id, Peer: caller(ctx)})
	if err != nil {
		return nil, err
	}
	return h.views.of(ctx, p)
}

type renameInput struct{ Body api.PeerChange }

func (h *peerHandler) rename(ctx context.Context, in *renameInput) (*output[api.Peer], error) {
	p, err := h.peers.Rename(ctx, caller(ctx), in.Body.Name)
	if err != nil {
		return nil, err
	}
	return h.views.of(ctx, p)
}

func (h *peerHandler) leave(ctx context.Context, _ *empty) (*empty, error) {
	return nil, h.revocations.Leave(ctx, caller(ctx))
}

// peerViews adds to a peer whether it is online.
type peerViews struct{ presence Presence }

func (v peerViews) of(ctx context.Context, p peers.Peer) (*output[api.Peer], error) {
	online, err := v.presence.Online(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	return &output[api.Peer]{api.Peer{
		ID: p.ID, PublicKey: p.PublicKey, Name: p.Name, Created: p.Created.UTC(), Online: online,
	}}, nil
}

// allowanceHandler lets peers choose which peers may find them.
type allowanceHandler struct{ allowances Allowances }

func (h *allowanceHandler) mount(e *endpoints) {
	mount(e, http.MethodGet, api.PathAllowed, operation{
		id: "list-allowed", summary: "List the peers that may find the caller",
	}, h.list)
	mount(e, http.MethodGet, api.PathAllowedPeer, operation{
		id: "get-allowed", summary: "Check whether a peer may find the caller", codes: []api.Code{api.CodePeerNotFound},
	}, h.get)
	mount(e, http.MethodPut, api.PathAllowedPeer, operation{
		id: "allow", summary: "Allow a peer to find and signal the caller", codes: []api.Code{api.CodeAllowedLimit},
	}, h.allow)
	mount(e, http.MethodDelete, api.PathAllowedPeer, operation{
		id: "disallow", summary: "Withdraw that permission",
	}, h.disallow)
}

func (h *allowanceHandler) list(ctx context.Context, _ *empty) (*output[api.Allowances], error) {
	all, err := h.allowances.AllowedBy(ctx, caller(ctx))
	list := api.Allowances{Allowed: []api.Allowance{}}
	for _, a := range all {
		list.Allowed = append(list.Allowed, wireAllowance(a.Peer, a.Since))
	}
	return &output[api.Allowances]{list}, err
}

func wireAllowance(peer ident.PeerID, since time.Time) api.Allowance {
	return api.Allowance{Peer: peer, Since: since.UTC()}
}

func (h *allowanceHandler) get(ctx context.Context, in *PeerParam) (*output[api.Allowance], error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	a, err := h.allowances.Allowance(ctx, peers.Permission{Owner: caller(ctx), Peer: id})
	return &output[api.Allowance]{wireAllowance(id, a.Since)}, err
}

func (h *allowanceHandler) allow(ctx context.Context, in *PeerParam) (*output[api.Allowance], error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	since, err := h.allowances.Allow(ctx, peers.Permission{Owner: caller(ctx), Peer: id})
	return &output[api.Allowance]{wireAllowance(id, since)}, err
}

func (h *allowanceHandler) disallow(ctx context.Context, in *PeerParam) (*empty, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	return nil, h.allowances.Disallow(ctx, peers.Permission{Owner: caller(ctx), Peer: id})
}
