package web

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Bounds of the list of peers. Up to maxSorted are put into an order for people;
// beyond that only some are shown, and a search finds the others.
const (
	maxSorted = registry.MaxBatch
	perPage   = 50
)

// peers is the list of peers.
type peers struct {
	Search  string
	State   string // "", "online" or "offline"
	Found   int    // that match
	Online  int    // of them
	Beyond  bool   // more match than could be put into order
	None    bool   // no peer is registered at all
	Closed  bool   // a new peer needs an invite
	JoinCmd string
	Rows    []registry.PeerAt
	Page    int
	Pages   int
	Before  string // where the part before is, "" for none
	Next    string
}

func (p *Pages) loadPeers(v *view) error {
	list := peers{Search: strings.TrimSpace(v.Asked("q")), State: v.Asked("state"), Page: v.number("page"), Closed: !p.cfg.Registry.Open()}
	all, err := p.cfg.Registry.Peers(v.ctx, registry.Search(list.Search, maxSorted))
	if err != nil {
		return err
	}
	list.Beyond = len(all) == maxSorted
	list.None = len(all) == 0 && list.Search == ""
	for _, one := range all {
		if one.At != nil {
			list.Online++
		}
		if list.State == "" || (list.State == "online") == (one.At != nil) {
			list.Rows = append(list.Rows, one)
		}
	}
	slices.SortFunc(list.Rows, forPeople)
	list.Found = len(list.Rows)
	list.Pages = max(1, (len(list.Rows)+perPage-1)/perPage)
	list.Page = min(list.Page, list.Pages)
	list.Rows = list.Rows[(list.Page-1)*perPage : min(len(list.Rows), list.Page*perPage)]
	at := func(page int) string {
		return with("/peers", "q", list.Search, "state", list.State, "page", strconv.Itoa(page))
	}
	if list.Page > 1 {
		list.Before = at(list.Page - 1)
	}
	if list.Page < list.Pages {
		list.Next = at(list.Page + 1)
	}
	if list.None && !list.Closed {
		list.JoinCmd = p.joinCommand("")
	}
	v.Data = list
	return nil
}

// forPeople orders peers: the connected ones first, then by name.
func forPeople(a, b registry.PeerAt) int {
	if (a.At != nil) != (b.At != nil) {
		if a.At != nil {
			return -1
		}
		return 1
	}
	return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), a.ID.Compare(b.ID))
}

// peerPage is one peer.
type peerPage struct {
	registry.PeerAt
	Version int64 // of the peer that was shown
	Pairs   []pairRow
	More    bool // it has more pairs
	Relay   chart
	Relayed registry.RelayDay // in all
	Days    int
	Events  []registry.Event // the last about it; none where the session does not cover them
}

// peerOf reads the peer of the address.
func (v *view) peerOf() (ident.PeerID, error) {
	id, err := ident.ParsePeerID(v.path("id"))
	if err != nil {
		return id, registry.ErrPeerNotFound
	}
	return id, nil
}

func (p *Pages) loadPeer(v *view) error {
	id, err := v.peerOf()
	if err != nil {
		return err
	}
	peer, err := p.cfg.Registry.PeerAt(v.ctx, id)
	if err != nil {
		return err
	}
	v.Title = peer.Name
	page := peerPage{PeerAt: peer, Version: peer.Peer.Version, Days: relayDays}
	pairs, err := p.cfg.Registry.Pairs(v.ctx, registry.PairQuery{Limit: perPage + 1, Peer: id})
	if err != nil {
		return err
	}
	page.More = len(pairs) > perPage
	page.Pairs = rowsOf(pairs[:min(len(pairs), perPage)])
	if page.Relay, page.Relayed, err = p.relayChart(v, id); err != nil {
		return err
	}
	if v.May(api.ScopeAudit) {
		page.Events, err = p.cfg.Registry.Events(v.ctx, registry.EventQuery{Limit: 10, Peer: id})
	}
	v.Data = page
	return err
}

func (p *Pages) renamePeer(v *view) (string, error) {
	id, err := v.peerOf()
	if err != nil {
		return "", err
	}
	if _, err := p.cfg.Registry.NamePeer(v.ctx, id, strings.TrimSpace(v.Typed("name")), v.version()); err != nil {
		return "", err
	}
	return with("/peers/"+id.String(), "did", "renamed"), nil
}

// version is the one of the peer that who filled in the form has seen; 0 is any.
func (v *view) version() int64 {
	n, err := strconv.ParseInt(v.Typed("version"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// question is what a page asks before something that cannot be taken back.
type question struct {
	Ask     string // "Revoke Workshop PC?"
	Means   []string
	Do      string // the words of the button
	Grave   bool
	Back    string // below Path
	Version int64
}

func (p *Pages) askRevokePeer(v *view) error {
	id, err := v.peerOf()
	if err != nil {
		return err
	}
	peer, err := p.cfg.Registry.PeerAt(v.ctx, id)
	if err != nil {
		return err
	}
	v.Data = question{
		Ask: "Revoke " + peer.Name + " (" + id.Short() + ")?", Do: "Revoke it", Grave: true, Back: "/peers/" + id.String(), Version: peer.Peer.Version,
		Means: []string{
			"Its connections to this rendezvous and its relayed links end within seconds. A direct link that stands is not this server's to end.",
			"It is forgotten whom it is paired with here, and its key may not register again until you readmit it.",
		},
	}
	return nil
}

func (p *Pages) revokePeer(v *view) (string, error) {
	id, err := v.peerOf()
	if err != nil {
		return "", err
	}
	return with("/peers", "did", "revoked"), p.cfg.Registry.RevokePeer(v.ctx, id, v.version())
}

// revoked is the list of revoked peers.
type revoked struct {
	Rows   []registry.Revocation
	Beyond bool
}

func (p *Pages) loadRevoked(v *view) error {
	var list revoked
	var err error
	list.Rows, err = p.cfg.Registry.Revocations(v.ctx, 0, maxSorted)
	list.Beyond = len(list.Rows) == maxSorted
	slices.Reverse(list.Rows)
	v.Data = list
	return err
}

func (p *Pages) askReadmit(v *view) error {
	id, err := v.peerOf()
	if err != nil {
		return err
	}
	is, err := p.cfg.Registry.Revoked(v.ctx, id)
	if err == nil && !is {
		err = registry.ErrPeerNotFound
	}
	v.Data = question{
		Ask: "Readmit " + id.Short() + "?", Do: "Readmit it", Back: "/revoked",
		Means: []string{"It may register again as a new peer: with an invite, or with your approval of its ID. It has to be paired again."},
	}
	return err
}

func (p *Pages) readmit(v *view) (string, error) {
	id, err := v.peerOf()
	if err != nil {
		return "", err
	}
	return with("/revoked", "did", "readmitted"), p.cfg.Registry.Readmit(v.ctx, id)
}
