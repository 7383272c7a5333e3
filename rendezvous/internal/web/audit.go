package web

import (
	"slices"
	"strconv"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
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
	Kinds []audit.Kind
	Kind  audit.Kind
	Peer  string // the text in the form
	Wrong bool   // Peer is not the ID of a peer
	Rows  []audit.Event
	Older string // URL path of the older events, or ""
	First bool   // this is the newest part
}

func (p *auditPages) load(v *view) error {
	page := auditPage{Kinds: audit.Kinds, Peer: v.Query("peer"), First: v.Query("before") == ""}
	q := audit.Query{Limit: perPage + 1}
	if kind := audit.Kind(v.Query("kind")); slices.Contains(audit.Kinds, kind) {
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
var eventWords = map[audit.Kind]string{
	audit.KindRegistered:      "registered",
	audit.KindRefused:         "refused",
	audit.KindPaired:          "paired",
	audit.KindPeerRenamed:     "renamed a peer",
	audit.KindPeerLeft:        "left",
	audit.KindPeerRevoked:     "revoked a peer",
	audit.KindPeerReadmitted:  "readmitted a peer",
	audit.KindPeerApproved:    "approved a peer",
	audit.KindPeerDisapproved: "withdrew an approval",
	audit.KindInviteCreated:   "created an invite",
	audit.KindInviteRevoked:   "revoked an invite",
	audit.KindTokenCreated:    "created a token",
	audit.KindTokenRevoked:    "revoked a token",
	audit.KindSignedIn:        "signed in",
	audit.KindSignedOut:       "signed out",
}

// describeEvent describes a kind of event to people.
func describeEvent(k audit.Kind) string {
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
type instancesPage struct{ Rows []history.InstanceStatus }

func (p *instancePages) load(v *view) error {
	all, err := p.instances.Instances(v.ctx)
	v.Data = instancesPage{all}
	return err
}
