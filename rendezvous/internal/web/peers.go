package web

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Bounds of lists. A page sorts at most maxSorted items; if there are more peers
// than that, a search finds the others.
const (
	maxSorted = registry.MaxBatch
	perPage   = 50
)

// peerPages shows, renames and revokes peers.
type peerPages struct {
	peers       Peers
	revocations Revocations
	membership  Membership
	pairs       Pairs
	audit       Audit
	relay       relayCharts
	join        joinLinks
}

func (p *peerPages) pages() []page {
	return []page{
		{path: "/peers", name: "peers", title: "Peers", nav: "peers", scope: api.ScopePeers, load: p.loadList},
		{
			path: "/peers/{id}", name: "peer", title: "Peer", nav: "peers", scope: api.ScopePeers,
			load: p.load, post: p.rename,
		},
		{
			path: "/peers/{id}/revoke", name: "confirm", title: "Revoke a peer", nav: "peers", scope: api.ScopePeers,
			load: p.askRevoke, post: p.revoke,
		},
	}
}

// peerList is the data of the list of peers.
type peerList struct {
	Search   string
	State    string // "", "online" or "offline"
	Found    int    // peers that match
	Online   int    // matching peers that are online
	Beyond   bool   // more peers match than can be sorted
	None     bool   // no peer is registered at all
	Closed   bool   // a new peer needs an invite
	JoinCmd  string
	Rows     []peers.PeerStatus
	Page     int
	Pages    int
	Previous string // URL path of the previous part of the list, or ""
	Next     string // URL path of the next part of the list, or ""
}

func (p *peerPages) loadList(v *view) error {
	list := peerList{
		Search: strings.TrimSpace(v.Query("q")), State: v.Query("state"),
		Page: v.pageNumber(), Closed: !p.membership.Open(),
	}
	all, err := p.peers.Peers(v.ctx, peers.Search(list.Search, maxSorted))
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
	slices.SortFunc(list.Rows, onlineThenName)
	list.Found = len(list.Rows)
	list.Pages = max(1, (len(list.Rows)+perPage-1)/perPage)
	list.Page = min(list.Page, list.Pages)
	list.Rows = list.Rows[(list.Page-1)*perPage : min(len(list.Rows), list.Page*perPage)]
	at := func(page int) string {
		return with("/peers", "q", list.Search, "state", list.State, "page", strconv.Itoa(page))
	}
	if list.Page > 1 {
		list.Previous = at(list.Page - 1)
	}
	if list.Page < list.Pages {
		list.Next = at(list.Page + 1)
	}
	if list.None && !list.Closed {
		list.JoinCmd = p.join.command("")
	}
	v.Data = list
	return nil
}

// onlineThenName orders peers: first those that are online, then by name.
func onlineThenName(a, b peers.PeerStatus) int {
	if (a.At != nil) != (b.At != nil) {
		if a.At != nil {
			return -1
		}
		return 1
	}
	return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), a.ID.Compare(b.ID))
}

// peerPage is the data of the page of one peer.
type peerPage struct {
	peers.PeerStatus
	Version int64 // of the peer that the page shows
	Pairs   []pairRow
	More    bool // the peer has more pairs
	Relay   chart
	Relayed history.RelayDay // the total of the chart
	Days    int
	Events  []audit.Event // the last events about the peer, if the sign-in covers them
}

func (p *peerPages) load(v *view) error {
	id, err := v.peerID()
	if err != nil {
		return err
	}
	peer, err := p.peers.PeerStatus(v.ctx, id)
	if err != nil {
		return err
	}
	v.Title = peer.Name
	page := peerPage{PeerStatus: peer, Version: peer.Peer.Version, Days: relayDays}
	pairs, err := p.pairs.Pairs(v.ctx, presence.PairQuery{Limit: perPage + 1, Peer: id})
	if err != nil {
		return err
	}
	page.More = len(pairs) > perPage
	page.Pairs = pairRows(pairs[:min(len(pairs), perPage)])
	if page.Relay, page.Relayed, err = p.relay.draw(v, id); err != nil {
		return err
	}
	if v.May(api.ScopeAudit) {
		page.Events, err = p.audit.Events(v.ctx, audit.Query{Limit: 10, Peer: id})
	}
	v.Data = page
	return err
}

func (p *peerPages) rename(v *view) (string, error) {
	id, err := v.peerID()
	if err != nil {
		return "", err
	}
	if _, err := p.peers.NamePeer(v.ctx, id, strings.TrimSpace(v.FormValue("name")), v.version()); err != nil {
		return "", err
	}
	return with("/peers/"+id.String(), "did", "renamed"), nil
}

// question asks for confirmation of a change.
type question struct {
	Ask         string   // such as "Revoke Workshop PC?"
	Means       []string // the consequences
	Do          string   // the label of the button
	Destructive bool     // the change cannot be undone completely
	Back        string   // URL path below Path
	Version     int64
}

func (p *peerPages) askRevoke(v *view) error {
	id, err := v.peerID()
	if err != nil {
		return err
	}
	peer, err := p.peers.PeerStatus(v.ctx, id)
	if err != nil {
		return err
	}
	v.Data = question{
		Ask: "Revoke " + peer.Name + " (" + id.Short() + ")?", Do: "Revoke it", Destructive: true,
		Back: "/peers/" + id.String(), Version: peer.Peer.Version,
		Means: []string{
			"Its connections to this rendezvous and its relayed links end within seconds. " +
				"This server cannot end a direct link between two peers.",
			"Its pairings on this server are deleted, and its key cannot register again until you readmit it.",
		},
	}
	return nil
}

func (p *peerPages) revoke(v *view) (string, error) {
	id, err := v.peerID()
	if err != nil {
		return "", err
	}
	return with("/peers", "did", "revoked"), p.revocations.RevokePeer(v.ctx, id, v.version())
}

// revocationPages shows and readmits revoked peers.
type revocationPages struct{ revocations Revocations }

func (p *revocationPages) pages() []page {
	return []page{
		{
			path: "/revoked", name: "revoked", title: "Revoked peers", nav: "peers", scope: api.ScopePeers,
			load: p.load,
		},
		{
			path: "/revoked/{id}", name: "confirm", title: "Readmit a peer", nav: "peers", scope: api.ScopePeers,
			load: p.askReadmit, post: p.readmit,
		},
	}
}

// revocationList is the data of the list of revoked peers.
type revocationList struct {
	Rows   []peers.Revocation
	Beyond bool // there are more than are shown
}

func (p *revocationPages) load(v *view) error {
	var list revocationList
	var err error
	list.Rows, err = p.revocations.Revocations(v.ctx, 0, maxSorted)
	list.Beyond = len(list.Rows) == maxSorted
	slices.Reverse(list.Rows)
	v.Data = list
	return err
}

func (p *revocationPages) askReadmit(v *view) error {
	id, err := v.peerID()
	if err != nil {
		return err
	}
	revoked, err := p.revocations.Revoked(v.ctx, id)
	if err == nil && !revoked {
		err = peers.ErrNotFound
	}
	v.Data = question{
		Ask: "Readmit " + id.Short() + "?", Do: "Readmit it", Back: "/revoked",
		Means: []string{
			"It can register again as a new peer, with an invite or with your approval of its ID. " +
				"Then it must be paired again.",
		},
	}
	return err
}

func (p *revocationPages) readmit(v *view) (string, error) {
	id, err := v.peerID()
	if err != nil {
		return "", err
	}
	return with("/revoked", "did", "readmitted"), p.revocations.Readmit(v.ctx, id)
}
