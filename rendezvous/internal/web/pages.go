package web

import "github.com/easyfind-usb/easyfind/proto/api"

// all is every page that wants a session.
func (p *Pages) all() []page {
	return []page{
		{path: "", name: "overview", title: "Overview", nav: "overview", load: p.loadOverview},
		{path: "/peers", name: "peers", title: "Peers", nav: "peers", scope: api.ScopePeers, load: p.loadPeers},
		{path: "/peers/{id}", name: "peer", title: "Peer", nav: "peers", scope: api.ScopePeers, load: p.loadPeer, post: p.renamePeer},
		{path: "/peers/{id}/revoke", name: "confirm", title: "Revoke a peer", nav: "peers", scope: api.ScopePeers, load: p.askRevokePeer, post: p.revokePeer},
		{path: "/revoked", name: "revoked", title: "Revoked peers", nav: "peers", scope: api.ScopePeers, load: p.loadRevoked},
		{path: "/revoked/{id}", name: "confirm", title: "Readmit a peer", nav: "peers", scope: api.ScopePeers, load: p.askReadmit, post: p.readmit},
	}
}
