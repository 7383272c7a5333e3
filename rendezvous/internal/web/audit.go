package web

import (
	"slices"
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// auditPage is part of the audit log.
type auditPage struct {
	Kinds []registry.EventKind
	Kind  registry.EventKind
	Peer  string // as it was typed
	Wrong bool   // it is no peer
	Rows  []registry.Event
	Older string // where older ones are; "" if there are none
	First bool
}

func (p *Pages) loadAudit(v *view) error {
	page := auditPage{Kinds: registry.EventKinds, Peer: v.Asked("peer"), First: v.Asked("before") == ""}
	q := registry.EventQuery{Limit: perPage + 1}
	if kind := registry.EventKind(v.Asked("kind")); slices.Contains(registry.EventKinds, kind) {
		page.Kind, q.Kind = kind, kind
	}
	if page.Peer != "" {
		var err error
		q.Peer, err = ident.ParsePeerID(page.Peer)
		page.Wrong = err != nil
	}
	if before, err := strconv.ParseInt(v.Asked("before"), 10, 64); err == nil && before > 0 {
		q.Before = before
	}
	v.Data = &page
	if page.Wrong {
		return nil
	}
	all, err := p.cfg.Registry.Events(v.ctx, q)
	if err != nil {
		return err
	}
	if len(all) > perPage {
		all = all[:perPage]
		page.Older = with("/audit", "kind", string(page.Kind), "peer", page.Peer, "before", strconv.FormatInt(all[perPage-1].Number, 10))
	}
	page.Rows = all
	return nil
}

// eventWords are the kinds of events for people.
var eventWords = map[registry.EventKind]string{
	registry.EventRegistered: "registered", registry.EventRefused: "refused", registry.EventPaired: "paired",
	registry.EventPeerRenamed: "renamed a peer", registry.EventPeerLeft: "left", registry.EventPeerRevoked: "revoked a peer", registry.EventPeerReadmitted: "readmitted a peer",
	registry.EventPeerApproved: "approved a peer", registry.EventPeerDisapproved: "took an approval back",
	registry.EventInviteCreated: "made an invite", registry.EventInviteRevoked: "revoked an invite",
	registry.EventTokenCreated: "made a token", registry.EventTokenRevoked: "revoked a token",
	registry.EventSignedIn: "signed in", registry.EventSignedOut: "signed out",
}

// inWords is what happened, for people.
func inWords(k registry.EventKind) string {
	if w, ok := eventWords[k]; ok {
		return w
	}
	return string(k)
}

// instancesPage is the instances that run.
type instancesPage struct{ Rows []registry.InstanceAt }

func (p *Pages) loadInstances(v *view) error {
	all, err := p.cfg.Registry.Instances(v.ctx)
	v.Data = instancesPage{all}
	return err
}
