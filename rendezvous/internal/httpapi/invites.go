package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// inviteHandler manages invites.
type inviteHandler struct{ invites Invites }

func (h *inviteHandler) mount(e *endpoints) {
	notFound := []api.Code{api.CodeInviteNotFound}
	mount(e, http.MethodPost, api.PathInvites, operation{
		id: "create-invite", summary: "Create an invite",
		codes: slices.Concat(withBody, []api.Code{api.CodeIdempotency}),
	}, h.create)
	mount(e, http.MethodGet, api.PathInvites, operation{
		id: "list-invites", summary: "List the invites, oldest first",
	}, h.list)
	mount(e, http.MethodGet, api.PathInvite, operation{
		id: "get-invite", summary: "Get an invite", codes: notFound,
	}, h.get)
	mount(e, http.MethodDelete, api.PathInvite, operation{
		id: "revoke-invite", summary: "Revoke an invite immediately; the peers that registered with it stay registered",
		codes: notFound,
	}, h.revoke)
}

type inviteInput struct {
	IdempotencyHeader
	Body api.InviteRequest
}

func (h *inviteHandler) create(ctx context.Context, in *inviteInput) (*output[api.Invite], error) {
	code, i, err := h.invites.CreateInvite(ctx, peers.InviteSpec{
		Label: in.Body.Label, Uses: in.Body.Uses, TTL: time.Duration(in.Body.Seconds) * time.Second,
		Key: in.IdempotencyKey,
	})
	return &output[api.Invite]{wireInvite(code, i)}, err
}

func wireInvite(code string, i peers.Invite) api.Invite {
	return api.Invite{
		ID: i.ID().String(), Code: code, Label: i.Label, Uses: i.Limit(), Used: i.Used,
		Created: i.Created.UTC(), Expires: i.Expires.UTC(), Revoked: i.Revoked,
	}
}

func (h *inviteHandler) list(ctx context.Context, in *PageQuery) (*output[api.Invites], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	all, err := h.invites.Invites(ctx, p)
	all, next := cut(all, in.Limit, func(i peers.Invite) string { return cursor(i.Place()) })
	list := api.Invites{Invites: []api.Invite{}, Next: next}
	for _, i := range all {
		list.Invites = append(list.Invites, wireInvite("", i))
	}
	return &output[api.Invites]{list}, err
}

func (h *inviteHandler) get(ctx context.Context, in *shortIDInput) (*output[api.Invite], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	i, err := h.invites.Invite(ctx, id)
	return &output[api.Invite]{wireInvite("", i)}, err
}

func (h *inviteHandler) revoke(ctx context.Context, in *shortIDInput) (*empty, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	return nil, h.invites.RevokeInvite(ctx, id)
}
