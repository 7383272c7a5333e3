package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// pairHandler lists the pairs of peers that have a link.
type pairHandler struct{ pairs Pairs }

func (h *pairHandler) mount(e *endpoints) {
	mount(e, http.MethodGet, api.PathPairs, operation{
		id: "list-pairs", summary: "List the pairs of peers that have a link now, as the peers report them",
	}, h.list)
}

// historyHandler serves the figures of the past.
type historyHandler struct{ history History }

func (h *historyHandler) mount(e *endpoints) {
	mount(e, http.MethodGet, api.PathHistory, operation{
		id:      "history",
		summary: "Get figures of the last hours: peers, pairs, relay, registrations, refusals; kept for a week",
	}, h.figures)
	mount(e, http.MethodGet, api.PathRelayUse, operation{
		id:      "relay-use",
		summary: "Get the use of the relay in the last days, by day and by peer; it is kept for 90 days",
	}, h.relayUse)
}

type pairsInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"the largest number of items"`
	After string `query:"after" maxLength:"128" doc:"the field next of the previous page"`
	Peer  string `query:"peer" maxLength:"80" doc:"only pairs of this peer"`
	Path  string `query:"path" maxLength:"8" enum:"direct,relayed" doc:"direct includes lan" example:"relayed"`
}

func (h *pairHandler) list(ctx context.Context, in *pairsInput) (*output[api.Pairs], error) {
	q := presence.PairQuery{Limit: in.Limit + 1}
	var err error
	if in.After != "" {
		raw, err := base64.RawURLEncoding.DecodeString(in.After)
		if err != nil || len(raw) != 2*len(ident.PeerID{}) {
			return nil, errCursor
		}
		copy(q.After[1][:], raw[copy(q.After[0][:], raw):])
	}
	if q.Peer, err = peerIn(in.Peer); err != nil {
		return nil, err
	}
	if in.Path != "" {
		relayed := in.Path == presence.LinkRelayed.String()
		q.Relayed = &relayed
	}
	all, err := h.pairs.Pairs(ctx, q)
	all, next := cut(all, in.Limit, func(p presence.Pair) string {
		return pairCursor(p.Peers[0], p.Peers[1])
	})
	list := api.Pairs{Pairs: []api.Pair{}, Next: next}
	for _, p := range all {
		list.Pairs = append(list.Pairs, api.Pair{
			Peer: p.Peers[0], Name: p.Names[0], Other: p.Peers[1], OtherName: p.Names[1],
			Path: p.Kind.String(), Transport: p.Transport.String(), RTTMillis: int(p.RTT.Milliseconds()),
			Since: p.Since.UTC(),
		})
	}
	return &output[api.Pairs]{list}, err
}

// pairCursor encodes a place in the list of pairs.
func pairCursor(one, other ident.PeerID) string {
	return base64.RawURLEncoding.EncodeToString(append(one[:], other[:]...))
}

// peerIn parses the parameter peer; it returns zero if the parameter is absent.
func peerIn(text string) (ident.PeerID, error) {
	if text == "" {
		return ident.PeerID{}, nil
	}
	id, err := ident.ParsePeerID(text)
	if err != nil {
		return id, invalid("query.peer", "not a PeerID: a character is missing or mistyped")
	}
	return id, nil
}

type historyInput struct {
	Hours   int `query:"hours" minimum:"1" maximum:"168" default:"24" doc:"the length of the period that ends now"`
	Seconds int `query:"seconds" minimum:"60" maximum:"3600" multipleOf:"60" default:"300" doc:"the length of a span"`
}

func (h *historyHandler) figures(ctx context.Context, in *historyInput) (*output[api.History], error) {
	spans, err := h.history.History(ctx, time.Duration(in.Hours)*time.Hour, time.Duration(in.Seconds)*time.Second)
	list := api.History{Seconds: in.Seconds, Points: []api.HistoryPoint{}}
	for _, p := range spans {
		list.Points = append(list.Points, api.HistoryPoint{
			At: p.At.UTC(), Peers: p.Peers, PairsDirect: p.Pairs.Direct, PairsRelayed: p.Pairs.Relayed,
			RelayBytes: p.RelayBytes, RelayPackets: p.RelayPackets,
			Registrations: p.Registrations, Refusals: p.Refusals,
		})
	}
	return &output[api.History]{list}, err
}

type relayUseInput struct {
	Days  int    `query:"days" minimum:"1" maximum:"90" default:"30" doc:"the number of days, including today"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"the largest number of peers"`
	Peer  string `query:"peer" maxLength:"80" doc:"only this peer"`
}

func (h *historyHandler) relayUse(ctx context.Context, in *relayUseInput) (*output[api.RelayUse], error) {
	id, err := peerIn(in.Peer)
	if err != nil {
		return nil, err
	}
	days, err := h.history.RelayDays(ctx, in.Days, id)
	if err != nil {
		return nil, err
	}
	use := api.RelayUse{Days: []api.RelayDay{}, Peers: []api.PeerRelayUse{}}
	only := api.PeerRelayUse{Peer: id}
	for _, d := range days {
		use.Days = append(use.Days, api.RelayDay{
			Day: d.Day.Time().Format(time.DateOnly), SentBytes: d.SentBytes, SentPackets: d.SentPackets,
			ReceivedBytes: d.ReceivedBytes, ReceivedPackets: d.ReceivedPackets,
		})
		only.SentBytes += d.SentBytes
		only.SentPackets += d.SentPackets
		only.ReceivedBytes += d.ReceivedBytes
		only.ReceivedPackets += d.ReceivedPackets
	}
	if !id.IsZero() {
		if len(days) > 0 {
			use.Peers = append(use.Peers, only)
		}
		return &output[api.RelayUse]{use}, nil
	}
	most, err := h.history.RelayUse(ctx, in.Days, in.Limit)
	for _, u := range most {
		use.Peers = append(use.Peers, api.PeerRelayUse{
			Peer: u.Peer, Name: u.Name, SentBytes: u.SentBytes, SentPackets: u.SentPackets,
			ReceivedBytes: u.ReceivedBytes, ReceivedPackets: u.ReceivedPackets,
		})
	}
	return &output[api.RelayUse]{use}, err
}
