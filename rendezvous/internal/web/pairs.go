package web

import (
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// pairs is the list of pairs that have a link.
type pairs struct {
	Count registry.PairCount
	Path  string // "", "direct" or "relayed"
	Rows  []pairRow
	Next  string // where the following ones begin; "" if there are none
	First bool
}

// pairRow is a pair as the page shows it.
type pairRow struct{ registry.Pair }

// Name is what a side of the pair is called.
func (p pairRow) Name(side int) string {
	if p.Names[side] == "" {
		return p.Peers[side].Short()
	}
	return p.Names[side]
}

// Relayed reports whether the pair needs the relay.
func (p pairRow) Relayed() bool { return p.Kind == registry.PathRelayed }

// Way is the path in words.
func (p pairRow) Way() string {
	return map[registry.PathKind]string{registry.PathLAN: "same network", registry.PathDirect: "direct", registry.PathRelayed: "relayed"}[p.Kind]
}

// Over is what carries the packets, in words.
func (p pairRow) Over() string {
	return map[string]string{"udp": "UDP", "tcp": "TCP", "tls": "TLS"}[p.Transport.String()]
}

// Trip is the round trip in words, "" if it was not measured.
func (p pairRow) Trip() string {
	if p.RTT == 0 {
		return ""
	}
	return strconv.FormatInt(p.RTT.Milliseconds(), 10) + " ms"
}

func rowsOf(all []registry.Pair) []pairRow {
	rows := make([]pairRow, len(all))
	for i, p := range all {
		rows[i] = pairRow{p}
	}
	return rows
}

func (p *Pages) loadPairs(v *view) error {
	list := pairs{Path: v.Asked("path"), First: v.Asked("after") == ""}
	q := registry.PairQuery{Limit: perPage + 1}
	switch list.Path {
	case "direct", "relayed":
		relayed := list.Path == "relayed"
		q.Relayed = &relayed
	default:
		list.Path = ""
	}
	for i, text := range []string{v.Asked("after"), v.Asked("and")} {
		if id, err := ident.ParsePeerID(text); err == nil {
			q.After[i] = id
		}
	}
	var err error
	if list.Count, err = p.cfg.Registry.CountPairs(v.ctx); err != nil {
		return err
	}
	all, err := p.cfg.Registry.Pairs(v.ctx, q)
	if err != nil {
		return err
	}
	if len(all) > perPage {
		all = all[:perPage]
		last := all[perPage-1].Peers
		list.Next = with("/pairs", "path", list.Path, "after", last[0].String(), "and", last[1].String())
	}
	list.Rows = rowsOf(all)
	v.Data = list
	return nil
}
