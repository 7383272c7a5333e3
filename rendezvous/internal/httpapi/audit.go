package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerAudit() {
	mount(s, http.MethodGet, api.PathAudit, operation{
		id: "list-events", summary: "The audit log, newest first: 90 days, bounded in rows too; refusals are counted by the minute",
	}, s.listEvents)
	mount(s, http.MethodGet, api.PathInstances, operation{id: "list-instances", summary: "The instances that run, and how many peers each has"}, s.listInstances)
}

func (s *server) listInstances(ctx context.Context, _ *nothing) (*output[api.Instances], error) {
	all, err := s.cfg.Registry.Instances(ctx)
	list := api.Instances{Instances: []api.Instance{}}
	for _, i := range all {
		list.Instances = append(list.Instances, api.Instance{
			Name: i.Name, Region: i.Region, Address: i.Address, Epoch: i.Epoch, Until: i.Until.UTC(), Peers: i.Peers, Version: i.Version, Load: wireLoad(i.Last),
		})
	}
	return &output[api.Instances]{list}, err
}

func wireLoad(m *registry.Minute) *api.Load {
	if m == nil {
		return nil
	}
	return &api.Load{
		At: m.At.UTC(), PairsDirect: m.Pairs.Direct, PairsRelayed: m.Pairs.Relayed, RelayBytes: m.RelayBytes, RelayPackets: m.RelayPackets,
		Registrations: m.Registrations, Refusals: m.Refusals,
	}
}

type eventsInput struct {
	Paging
	Kind string `query:"kind" maxLength:"32" enum:"registered,refused,paired,peer_renamed,peer_left,peer_revoked,peer_readmitted,peer_approved,peer_disapproved,invite_created,invite_revoked,token_created,token_revoked,signed_in,signed_out" doc:"only these" example:"refused"`
	Peer string `query:"peer" maxLength:"80" doc:"only those about this peer"`
}

func (s *server) listEvents(ctx context.Context, in *eventsInput) (*output[api.Events], error) {
	q := registry.EventQuery{Limit: in.Limit + 1, Kind: registry.EventKind(in.Kind)}
	var err error
	if q.Before, err = in.number(); err != nil {
		return nil, err
	}
	if q.Peer, err = peerIn(in.Peer); err != nil {
		return nil, err
	}
	all, err := s.cfg.Registry.Events(ctx, q)
	all, next := cut(all, in.Limit, func(e registry.Event) string { return strconv.FormatInt(e.Number, 10) })
	list := api.Events{Events: []api.Event{}, Next: next}
	for _, e := range all {
		list.Events = append(list.Events, api.Event{
			Number: e.Number, At: e.At.UTC(), Kind: string(e.Kind), Actor: e.Actor, Peer: e.Peer, Other: e.Other,
			Source: e.Source, Detail: e.Detail, Count: e.Count,
		})
	}
	return &output[api.Events]{list}, err
}
