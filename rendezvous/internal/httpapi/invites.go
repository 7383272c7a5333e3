package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerInvites() {
	notFound := []api.Code{api.CodeInviteNotFound}
	mount(s, http.MethodPost, api.PathInvites, operation{
		id: "create-invite", summary: "Make an invite", codes: slices.Concat(withBody, []api.Code{api.CodeIdempotency}),
	}, s.createInvite)
	mount(s, http.MethodGet, api.PathInvites, operation{id: "list-invites", summary: "The invites, oldest first"}, s.listInvites)
	mount(s, http.MethodGet, api.PathInvite, operation{id: "get-invite", summary: "An invite", codes: notFound}, s.invite)
	mount(s, http.MethodDelete, api.PathInvite, operation{
		id: "revoke-invite", summary: "End an invite at once; whom it let in stays", codes: notFound,
	}, s.revokeInvite)
}

type inviteInput struct {
	Repeatable
	Body api.InviteRequest
}

func (s *server) createInvite(ctx context.Context, in *inviteInput) (*output[api.Invite], error) {
	code, i, err := s.cfg.Registry.CreateInvite(ctx, registry.InviteSpec{
		Label: in.Body.Label, Uses: in.Body.Uses, TTL: time.Duration(in.Body.Seconds) * time.Second, Key: in.IdempotencyKey,
	})
	return &output[api.Invite]{wireInvite(code, i)}, err
}

func wireInvite(code string, i registry.Invite) api.Invite {
	return api.Invite{
		ID: i.ID().String(), Code: code, Label: i.Label, Uses: i.Limit(), Used: i.Used,
		Created: i.Created.UTC(), Expires: i.Expires.UTC(), Revoked: i.Revoked,
	}
}

func (s *server) listInvites(ctx context.Context, in *Paging) (*output[api.Invites], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Registry.Invites(ctx, p)
	all, next := cut(all, in.Limit, func(i registry.Invite) string { return cursor(i.Place()) })
	list := api.Invites{Invites: []api.Invite{}, Next: next}
	for _, i := range all {
		list.Invites = append(list.Invites, wireInvite("", i))
	}
	return &output[api.Invites]{list}, err
}

func (s *server) invite(ctx context.Context, in *inShortID) (*output[api.Invite], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	i, err := s.cfg.Registry.Invite(ctx, id)
	return &output[api.Invite]{wireInvite("", i)}, err
}

func (s *server) revokeInvite(ctx context.Context, in *inShortID) (*nothing, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.RevokeInvite(ctx, id)
}
