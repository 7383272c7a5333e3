package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// registrationHandler registers peers.
type registrationHandler struct {
	registration Registration
	peers        Peers
	limits       *sourceLimits
	proxies      proxies
}

func (h *registrationHandler) mount(e *endpoints) {
	rateLimited := []api.Code{api.CodeRateLimited}
	mount(e, http.MethodPost, api.PathChallenges, operation{
		id: "create-challenge", summary: "Create a challenge that a registration must sign", codes: rateLimited,
		guards: huma.Middlewares{e.guards.limited(h.limits.challenges), h.proxies.withChannel},
	}, h.challenge)
	mount(e, http.MethodPost, api.PathPeers, operation{
		id: "register", summary: "Register a peer, or renew its token",
		codes: slices.Concat(withBody, rateLimited, []api.Code{
			api.CodeChallenge, api.CodeSignature, api.CodeBinding, api.CodeOrigin,
			api.CodeInviteNeeded, api.CodeInvite, api.CodeRevoked, api.CodeFull,
		}),
		guards: huma.Middlewares{e.guards.limited(h.limits.registrations), h.proxies.withChannel},
	}, h.register)
}

func (h *registrationHandler) challenge(ctx context.Context, _ *empty) (*output[api.Challenge], error) {
	c, expires, err := h.registration.Challenge(ctx)
	bind := api.BindTLS
	if channel(ctx).Origin != "" {
		bind = api.BindOrigin
	}
	return &output[api.Challenge]{api.Challenge{Challenge: c, Expires: expires.UTC(), Bind: bind}}, err
}

type registerInput struct{ Body api.Registration }

type registerOutput struct {
	Status int
	Body   api.RegisterResult
}

func (h *registrationHandler) register(ctx context.Context, in *registerInput) (*registerOutput, error) {
	if err := h.limitNew(ctx, ident.IDOf(in.Body.PublicKey)); err != nil {
		return nil, err
	}
	r, err := h.registration.Register(ctx, in.Body, channel(ctx))
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if r.Created {
		status = http.StatusCreated
	}
	return &registerOutput{status, api.RegisterResult{ID: r.Peer.ID, Name: r.Peer.Name, Token: r.Token}}, nil
}

// limitNew limits the new peers of one source on a server that needs no invite.
// Renewals of registered peers are not counted.
func (h *registrationHandler) limitNew(ctx context.Context, id ident.PeerID) error {
	if !h.registration.Open() {
		return nil
	}
	_, err := h.peers.Peer(ctx, id)
	if !errors.Is(err, peers.ErrNotFound) {
		return err
	}
	return h.limits.newPeers.take(ctx)
}
