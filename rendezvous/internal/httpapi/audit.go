package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
)

// auditHandler serves the audit log.
type auditHandler struct{ audit Audit }

func (h *auditHandler) mount(e *endpoints) {
	mount(e, http.MethodGet, api.PathAudit, operation{
		id:      "list-events",
		summary: "List the audit log of the last 90 days, newest first; equal refusals are one row per minute",
	}, h.list)
}

// instanceHandler lists the running instances.
type instanceHandler struct{ instances Instances }

func (h *instanceHandler) mount(e *endpoints) {
	mount(e, http.MethodGet, api.PathInstances, operation{
		id: "list-instances", summary: "List the running instances and the number of peers connected to each",
	}, h.list)
}

func (h *instanceHandler) list(ctx context.Context, _ *empty) (*output[api.Instances], error) {
	all, err := h.instances.Instances(ctx)
	list := api.Instances{Instances: []api.Instance{}}
	for _, i := range all {
		list.Instances = append(list.Instances, api.Instance{
			Name: i.Name, Region: i.Region, Address: i.Address, Epoch: i.Epoch, Until: i.Until.UTC(),
			Peers: i.Peers, Version: i.Version, Load: wireLoad(i.Last),
		})
	}
	return &output[api.Instances]{list}, err
}

func wireLoad(m *history.Minute) *api.Load {
	if m == nil {
		return nil
	}
	return &api.Load{
		At: m.At.UTC(), PairsDirect: m.Pairs.Direct, PairsRelayed: m.Pairs.Relayed,
		RelayBytes: m.RelayBytes, RelayPackets: m.RelayPackets,
		Registrations: m.Registrations, Refusals: m.Refusals,
	}
}

// eventKind is a kind of event in a query.
type eventKind string

// Schema makes huma accept only the known kinds.
func (eventKind) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Enum: eventKinds()}
}

func eventKinds() []any {
	var all []any
	for _, k := range audit.Kinds {
		all = append(all, string(k))
	}
	return all
}

type eventsInput struct {
	PageQuery
	Kind eventKind `query:"kind" maxLength:"32" doc:"only events of this kind" example:"refused"`
	Peer string    `query:"peer" maxLength:"80" doc:"only events about this peer"`
}

func (h *auditHandler) list(ctx context.Context, in *eventsInput) (*output[api.Events], error) {
	q := audit.Query{Limit: in.Limit + 1, Kind: audit.Kind(in.Kind)}
	var err error
	if q.Before, err = in.number(); err != nil {
		return nil, err
	}
	if q.Peer, err = peerIn(in.Peer); err != nil {
		return nil, err
	}
	all, err := h.audit.Events(ctx, q)
	all, next := cut(all, in.Limit, func(e audit.Event) string { return strconv.FormatInt(e.Number, 10) })
	list := api.Events{Events: []api.Event{}, Next: next}
	for _, e := range all {
		list.Events = append(list.Events, api.Event{
			Number: e.Number, At: e.At.UTC(), Kind: string(e.Kind), Actor: e.Actor, Peer: e.Peer, Other: e.Other,
			Source: e.Source, Detail: e.Detail, Count: e.Count,
		})
	}
	return &output[api.Events]{list}, err
}
