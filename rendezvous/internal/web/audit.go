package web

import (
	"slices"
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// auditPages shows the audit log.
type auditPages struct{ audit Audit }

func (p *auditPages) pages() []page {
	return []page{{
		path: "/audit", name: "audit", title: "Audit log", nav: "audit", scope: api.ScopeAudit, load: p.load,
	}}
}

// auditPage is the data of one part of the audit log.
type auditPage struct {
	Kinds []registry.EventKind
	Kind  registry.EventKind
	Peer  string // the text in the form
	Wrong bool   // Peer is not the ID of a peer
	Rows  []registry.Event
	Older string // URL path of the older events, or ""
	First bool   // this is the newest part
}

func (p *auditPages) load(v *view) error {
	page := auditPage{Kinds: registry.EventKinds, Peer: v.Query("peer"), First: v.Query("before") == ""}
	q := registry.EventQuery{Limit: perPage + 1}
	if kind := registry.EventKind(v.Query("kind")); slices.Contains(registry.EventKinds, kind) {
		page.Kind, q.Kind = kind, kind
	}
	if page.Peer != "" {
		var err error
		q.Peer, err = ident.ParsePeerID(page.Peer)
		page.Wrong = err != nil
	}
	if before, err := strconv.ParseInt(v.Query("before"), 10, 64); err == nil && before > 0 {
		q.Before = before
	}
	v.Data = &page
	if page.Wrong {
		return nil
	}
	all, err := p.audit.Events(v.ctx, q)
	if err != nil {
		return err
	}
	if len(all) > perPage {
		all = all[:perPage]
		page.Older = with("/audit",
			"kind", string(page.Kind), "peer", page.Peer, "before", strconv.FormatInt(all[perPage-1].Number, 10))
	}
	page.Rows = all
	return nil
}

// eventWords describes each kind of event to people.
var eventWords = map[registry.EventKind]string{
	registry.EventRegistered:      "registered",
	registry.EventRefused:         "refused",
	registry.EventPaired:          "paired",
	registry.EventPeerRenamed:     "renamed a peer",
	registry.EventPeerLeft:        "left",
	registry.EventPeerRevoked:     "revoked a peer",
	registry.EventPeerReadmitted:  "readmitted a peer",
	registry.EventPeerApproved:    "approved a peer",
	registry.EventPeerDisapproved: "withdrew an approval",
	registry.EventInviteCreated:   "created an invite",
	registry.EventInviteRevoked:   "revoked an invite",
	registry.EventTokenCreated:    "created a token",
	registry.EventTokenRevoked:    "revoked a token",
	registry.EventSignedIn:        "signed in",
	registry.EventSignedOut:       "signed out",
}

// describeEvent describes a kind of event to people.
func describeEvent(k registry.EventKind) string {
	if w, ok := eventWords[k]; ok {
		return w
	}
	return string(k)
}

// instancePages shows the running instances.
type instancePages struct{ instances Instances }

func (p *instancePages) pages() []page {
	return []page{{
		path: "/instances", name: "instances", title: "Instances", nav: "instances", scope: api.ScopeAudit,
		load: p.load,
	}}
}

// instancesPage is the data of the page.
type instancesPage struct{ Rows []registry.InstanceAt }

func (p *instancePages) load(v *view) error {
	all, err := p.instances.Instances(v.ctx)
	v.Data = instancesPage{all}
	return err
}
