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
		{path: "/pairs", name: "pairs", title: "Pairs", nav: "pairs", scope: api.ScopePeers, load: p.loadPairs},
		{path: "/relay", name: "relay", title: "Relay", nav: "relay", scope: api.ScopePeers, load: p.loadRelay},
		{path: "/invites", name: "invites", title: "Invites", nav: "invites", scope: api.ScopeInvites, load: p.loadInvites, post: p.makeInvite},
		{path: "/invites/{id}/revoke", name: "confirm", title: "Revoke an invite", nav: "invites", scope: api.ScopeInvites, load: p.askRevokeInvite, post: p.revokeInvite},
		{path: "/approvals", name: "approvals", title: "Approvals", nav: "approvals", scope: api.ScopePeers, load: p.loadApprovals, post: p.approve},
		{path: "/approvals/{id}", name: "confirm", title: "Take an approval back", nav: "approvals", scope: api.ScopePeers, load: p.askDisapprove, post: p.disapprove},
		{path: "/instances", name: "instances", title: "Instances", nav: "instances", scope: api.ScopeAudit, load: p.loadInstances},
		{path: "/audit", name: "audit", title: "Audit log", nav: "audit", scope: api.ScopeAudit, load: p.loadAudit},
		{path: "/access", name: "access", title: "Access", nav: "access", scope: api.ScopeAdmin, load: p.loadAccess, post: p.makeToken},
		{path: "/access/{id}", name: "confirm", title: "Revoke a token", nav: "access", scope: api.ScopeAdmin, load: p.askRevokeToken, post: p.revokeToken},
	}
}
