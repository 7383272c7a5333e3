package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerPeers() {
	limited := []api.Code{api.CodeRateLimited}
	mount(s, http.MethodPost, api.PathChallenges, operation{
		id: "create-challenge", summary: "Take what a registration must sign", codes: limited,
		guards: huma.Middlewares{s.limit(limitChallenges), s.withChannel},
	}, s.challenge)
	mount(s, http.MethodPost, api.PathPeers, operation{
		id: "register", summary: "Register a peer, or renew its token",
		codes: slices.Concat(withBody, limited, []api.Code{
			api.CodeChallenge, api.CodeSignature, api.CodeBinding, api.CodeOrigin, api.CodeInviteNeeded, api.CodeInvite, api.CodeRevoked, api.CodeFull,
		}),
		guards: huma.Middlewares{s.limit(limitRegistrations), s.withChannel},
	}, s.registerPeer)
	notFound := []api.Code{api.CodePeerNotFound}
	mount(s, http.MethodGet, api.PathPeer, operation{
		id: "get-peer", summary: "Find a peer that allows the caller; self is the caller", codes: notFound,
	}, s.peer)
	mount(s, http.MethodPatch, api.PathSelf, operation{
		id: "rename", summary: "Change the caller's name", codes: slices.Concat(withBody, notFound),
	}, s.rename)
	mount(s, http.MethodDelete, api.PathSelf, operation{
		id: "leave", summary: "Forget the caller: its registration, its permissions and those for it; it closes its signalling connection itself",
	}, s.leave)
	mount(s, http.MethodGet, api.PathAllowed, operation{id: "list-allowed", summary: "Everyone who may find the caller"}, s.listAllowed)
	mount(s, http.MethodGet, api.PathAllowedPeer, operation{
		id: "get-allowed", summary: "Whether a peer may find the caller", codes: notFound,
	}, s.allowed)
	mount(s, http.MethodPut, api.PathAllowedPeer, operation{
		id: "allow", summary: "Let a peer find and signal the caller", codes: []api.Code{api.CodeAllowedLimit},
	}, s.allow)
	mount(s, http.MethodDelete, api.PathAllowedPeer, operation{id: "disallow", summary: "Take that back"}, s.disallow)
}

func (s *server) challenge(ctx context.Context, _ *nothing) (*output[api.Challenge], error) {
	c, expires, err := s.cfg.Registry.Challenge(ctx)
	bind := api.BindTLS
	if channel(ctx).Origin != "" {
		bind = api.BindOrigin
	}
	return &output[api.Challenge]{api.Challenge{Challenge: c, Expires: expires.UTC(), Bind: bind}}, err
}

type registerInput struct{ Body api.Registration }

type registerOutput struct {
	Status int
	Body   api.Registered
}

func (s *server) registerPeer(ctx context.Context, in *registerInput) (*registerOutput, error) {
	if err := s.mayJoin(ctx, ident.IDOf(in.Body.PublicKey)); err != nil {
		return nil, err
	}
	r, err := s.cfg.Registry.Register(ctx, in.Body, channel(ctx))
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if r.Created {
		status = http.StatusCreated
	}
	return &registerOutput{status, api.Registered{ID: r.Peer.ID, Name: r.Peer.Name, Token: r.Token}}, nil
}

// mayJoin limits the new peers of one source where nobody needs an invite. Those
// who are known may renew as often as any.
func (s *server) mayJoin(ctx context.Context, id ident.PeerID) error {
	if !s.cfg.Registry.Open() {
		return nil
	}
	_, err := s.cfg.Registry.Peer(ctx, id)
	if !errors.Is(err, registry.ErrPeerNotFound) {
		return err
	}
	return s.take(ctx, limitNewPeers)
}

// InPeer is a peer in the path. It is text, so that self can stand there and
// a mistyped ID is told from an unknown one.
type InPeer struct {
	ID string `path:"id" maxLength:"80" doc:"a PeerID"`
}

func (in InPeer) peer() (ident.PeerID, error) {
	id, err := ident.ParsePeerID(in.ID)
	if err != nil {
		return id, invalid("path.id", "not a PeerID: a character is missing or mistyped")
	}
	return id, nil
}

func (s *server) peer(ctx context.Context, in *InPeer) (*output[api.Peer], error) {
	id := caller(ctx)
	if in.ID != "self" {
		var err error
		if id, err = in.peer(); err != nil {
			return nil, err
		}
	}
	p, err := s.cfg.Registry.Lookup(ctx, caller(ctx), id)
	if err != nil {
		return nil, err
	}
	return s.seen(ctx, p)
}

// seen is a peer as the caller sees it.
func (s *server) seen(ctx context.Context, p registry.Peer) (*output[api.Peer], error) {
	online, err := s.cfg.Presence.Online(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	return &output[api.Peer]{api.Peer{ID: p.ID, PublicKey: p.PublicKey, Name: p.Name, Created: p.Created.UTC(), Online: online}}, nil
}

type renameInput struct{ Body api.PeerChange }

func (s *server) rename(ctx context.Context, in *renameInput) (*output[api.Peer], error) {
	p, err := s.cfg.Registry.Rename(ctx, caller(ctx), in.Body.Name)
	if err != nil {
		return nil, err
	}
	return s.seen(ctx, p)
}

func (s *server) leave(ctx context.Context, _ *nothing) (*nothing, error) {
	return nil, s.cfg.Registry.Leave(ctx, caller(ctx))
}

func (s *server) listAllowed(ctx context.Context, _ *nothing) (*output[api.Allowances], error) {
	all, err := s.cfg.Registry.AllowedBy(ctx, caller(ctx))
	list := api.Allowances{Allowed: []api.Allowance{}}
	for _, a := range all {
		list.Allowed = append(list.Allowed, allowance(a.Peer, a.Since))
	}
	return &output[api.Allowances]{list}, err
}

func allowance(peer ident.PeerID, since time.Time) api.Allowance {
	return api.Allowance{Peer: peer, Since: since.UTC()}
}

func (s *server) allowed(ctx context.Context, in *InPeer) (*output[api.Allowance], error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	a, err := s.cfg.Registry.Allowance(ctx, caller(ctx), id)
	return &output[api.Allowance]{allowance(id, a.Since)}, err
}

func (s *server) allow(ctx context.Context, in *InPeer) (*output[api.Allowance], error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	since, err := s.cfg.Registry.Allow(ctx, caller(ctx), id)
	return &output[api.Allowance]{allowance(id, since)}, err
}

func (s *server) disallow(ctx context.Context, in *InPeer) (*nothing, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.Disallow(ctx, caller(ctx), id)
}

func (s *server) server(context.Context, *nothing) (*output[api.Server], error) {
	out := s.cfg.Server
	out.SignalALPN, out.SignalPath = api.SignalALPN, api.PathSignal
	out.Open = s.cfg.Registry.Open()
	out.STUN, out.TURN = append([]string{}, out.STUN...), append([]string{}, out.TURN...)
	return &output[api.Server]{out}, nil
}

func (s *server) relay(ctx context.Context, _ *nothing) (*output[api.RelayCredentials], error) {
	if s.cfg.Relay == nil {
		return nil, api.NewProblem(api.CodeRelayUnavailable)
	}
	c, err := s.cfg.Relay.Credentials(ctx, caller(ctx))
	return &output[api.RelayCredentials]{c}, err
}
