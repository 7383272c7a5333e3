package web

import (
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// pairPages shows the pairs of peers that have a link.
type pairPages struct{ pairs Pairs }

func (p *pairPages) pages() []page {
	return []page{{path: "/pairs", name: "pairs", title: "Pairs", nav: "pairs", scope: api.ScopePeers, load: p.load}}
}

// pairList is the data of the page of pairs.
type pairList struct {
	Count presence.PairCount
	Path  string // "", "direct" or "relayed"
	Rows  []pairRow
	Next  string // URL path of the next part of the list, or ""
	First bool   // this is the first part
}

// pairRow is a pair with what the page shows of it.
type pairRow struct{ presence.Pair }

// Name returns the name of one peer of the pair.
func (p pairRow) Name(side int) string {
	if p.Names[side] == "" {
		return p.Peers[side].Short()
	}
	return p.Names[side]
}

// Relayed reports whether the link of the pair is relayed.
func (p pairRow) Relayed() bool { return p.Kind == presence.LinkRelayed }

// KindWords returns the kind of link, in words.
func (p pairRow) KindWords() string {
	return map[presence.LinkKind]string{
		presence.LinkLAN: "same network", presence.LinkDirect: "direct", presence.LinkRelayed: "relayed",
	}[p.Kind]
}

// TransportWords returns the protocol that carries the packets, in words.
func (p pairRow) TransportWords() string {
	return map[string]string{"udp": "UDP", "tcp": "TCP", "tls": "TLS"}[p.Transport.String()]
}

// RoundTrip returns the round-trip time, in words, or "" if it was not measured.
func (p pairRow) RoundTrip() string {
	if p.RTT == 0 {
		return ""
	}
	return strconv.FormatInt(p.RTT.Milliseconds(), 10) + " ms"
}

func pairRows(all []presence.Pair) []pairRow {
	rows := make([]pairRow, len(all))
	for i, p := range all {
		rows[i] = pairRow{p}
	}
	return rows
}

func (p *pairPages) load(v *view) error {
	list := pairList{Path: v.Query("path"), First: v.Query("after") == ""}
	q := presence.PairQuery{Limit: perPage + 1}
	switch list.Path {
	case "direct", "relayed":
		relayed := list.Path == "relayed"
		q.Relayed = &relayed
	default:
		list.Path = ""
	}
	for i, text := range []string{v.Query("after"), v.Query("and")} {
		if id, err := ident.ParsePeerID(text); err == nil {
			q.After[i] = id
		}
	}
	var err error
	if list.Count, err = p.pairs.CountPairs(v.ctx); err != nil {
		return err
	}
	all, err := p.pairs.Pairs(v.ctx, q)
	if err != nil {
		return err
	}
	if len(all) > perPage {
		all = all[:perPage]
		last := all[perPage-1].Peers
		list.Next = with("/pairs", "path", list.Path, "after", last[0].String(), "and", last[1].String())
	}
	list.Rows = pairRows(all)
	v.Data = list
	return nil
}
