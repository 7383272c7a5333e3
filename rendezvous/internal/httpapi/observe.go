package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerObserved() {
	mount(s, http.MethodGet, api.PathPairs, operation{
		id: "list-pairs", summary: "The pairs of peers that have a link now, and whether it is relayed, as the peers say",
	}, s.listPairs)
	mount(s, http.MethodGet, api.PathHistory, operation{
		id: "history", summary: "Figures of the last hours: peers, pairs, relayed bytes, registrations, refusals; they are kept for a week",
	}, s.history)
	mount(s, http.MethodGet, api.PathRelayUse, operation{
		id: "relay-use", summary: "What was relayed in the last days, and for whom; it is kept for 90 days",
	}, s.relayUse)
}

type pairsInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"items at most"`
	After string `query:"after" maxLength:"128" doc:"next of the page before"`
	Peer  string `query:"peer" maxLength:"80" doc:"only pairs of this peer"`
	Path  string `query:"path" maxLength:"8" enum:"direct,relayed" doc:"only those; direct is on the same network too" example:"relayed"`
}

func (s *server) listPairs(ctx context.Context, in *pairsInput) (*output[api.Pairs], error) {
	q := registry.PairQuery{Limit: in.Limit + 1}
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
		relayed := in.Path == registry.PathRelayed.String()
		q.Relayed = &relayed
	}
	all, err := s.cfg.Registry.Pairs(ctx, q)
	all, next := cut(all, in.Limit, func(p registry.Pair) string {
		return base64.RawURLEncoding.EncodeToString(append(p.Peers[0][:], p.Peers[1][:]...))
	})
	list := api.Pairs{Pairs: []api.Pair{}, Next: next}
	for _, p := range all {
		list.Pairs = append(list.Pairs, api.Pair{
			Peer: p.Peers[0], Name: p.Names[0], Other: p.Peers[1], OtherName: p.Names[1],
			Path: p.Kind.String(), Transport: p.Transport.String(), RTTMillis: int(p.RTT.Milliseconds()), Since: p.Since.UTC(),
		})
	}
	return &output[api.Pairs]{list}, err
}

// peerIn reads the peer of a parameter, zero without one.
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
	Hours   int `query:"hours" minimum:"1" maximum:"168" default:"24" doc:"how far back"`
	Seconds int `query:"seconds" minimum:"60" maximum:"3600" multipleOf:"60" default:"300" doc:"how long each span is, in whole minutes"`
}

func (s *server) history(ctx context.Context, in *historyInput) (*output[api.History], error) {
	spans, err := s.cfg.Registry.History(ctx, time.Duration(in.Hours)*time.Hour, time.Duration(in.Seconds)*time.Second)
	list := api.History{Seconds: in.Seconds, Points: []api.HistoryPoint{}}
	for _, p := range spans {
		list.Points = append(list.Points, api.HistoryPoint{
			At: p.At.UTC(), Peers: p.Peers, PairsDirect: p.Pairs.Direct, PairsRelayed: p.Pairs.Relayed,
			RelayBytes: p.RelayBytes, RelayPackets: p.RelayPackets, Registrations: p.Registrations, Refusals: p.Refusals,
		})
	}
	return &output[api.History]{list}, err
}

type relayUseInput struct {
	Days  int    `query:"days" minimum:"1" maximum:"90" default:"30" doc:"how far back, today included"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"peers at most"`
	Peer  string `query:"peer" maxLength:"80" doc:"only this peer"`
}

func (s *server) relayUse(ctx context.Context, in *relayUseInput) (*output[api.RelayUse], error) {
	id, err := peerIn(in.Peer)
	if err != nil {
		return nil, err
	}
	days, err := s.cfg.Registry.RelayDays(ctx, in.Days, id)
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
		only.SentBytes, only.SentPackets = only.SentBytes+d.SentBytes, only.SentPackets+d.SentPackets
		only.ReceivedBytes, only.ReceivedPackets = only.ReceivedBytes+d.ReceivedBytes, only.ReceivedPackets+d.ReceivedPackets
	}
	if !id.IsZero() {
		if len(days) > 0 {
			use.Peers = append(use.Peers, only)
		}
		return &output[api.RelayUse]{use}, nil
	}
	most, err := s.cfg.Registry.RelayUse(ctx, in.Days, in.Limit)
	for _, u := range most {
		use.Peers = append(use.Peers, api.PeerRelayUse{
			Peer: u.Peer, Name: u.Name, SentBytes: u.SentBytes, SentPackets: u.SentPackets,
			ReceivedBytes: u.ReceivedBytes, ReceivedPackets: u.ReceivedPackets,
		})
	}
	return &output[api.RelayUse]{use}, err
}
