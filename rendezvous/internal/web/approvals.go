package web

import (
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// approvalPages shows which machines ask to join, and approves them.
type approvalPages struct {
	approvals  Approvals
	requests   JoinRequests
	membership Membership
}

func (p *approvalPages) pages() []page {
	return []page{
		{
			path: "/approvals", name: "approvals", title: "Approvals", nav: "approvals", scope: api.ScopePeers,
			load: p.load, post: p.approve,
		},
		{
			path: "/approvals/{id}", name: "confirm", title: "Withdraw an approval", nav: "approvals",
			scope: api.ScopePeers,
			load:  p.askWithdraw, post: p.withdraw,
		},
	}
}

// approvalsPage is the data of the page.
type approvalsPage struct {
	Open     bool // no approval is needed
	Requests []peers.JoinRequest
	Approved []peers.Approval // not used yet
	Beyond   bool             // there are more than are shown
}

func (p *approvalPages) load(v *view) error {
	page := approvalsPage{Open: p.membership.Open()}
	var err error
	if page.Requests, err = p.requests.JoinRequests(v.ctx); err != nil {
		return err
	}
	page.Approved, err = p.approvals.Approvals(v.ctx, ident.PeerID{}, maxSorted)
	page.Beyond = len(page.Approved) == maxSorted
	v.Data = page
	return err
}

func (p *approvalPages) approve(v *view) (string, error) {
	id, err := ident.ParsePeerID(v.FormValue("peer"))
	if err != nil {
		return "", formError("This is not the ID of a machine: a character is missing or mistyped. " +
			"Run “easyfind status” on the machine to see its ID.")
	}
	if _, err := p.approvals.Approve(v.ctx, id); err != nil {
		return "", err
	}
	return with("/approvals", "did", "approved"), nil
}

func (p *approvalPages) askWithdraw(v *view) error {
	id, err := v.peerID()
	if err != nil {
		return err
	}
	v.Data = question{
		Ask: "Withdraw the approval of " + id.Short() + "?", Do: "Withdraw it", Back: "/approvals",
		Means: []string{"The machine can then join only with an invite."},
	}
	return nil
}

func (p *approvalPages) withdraw(v *view) (string, error) {
	id, err := v.peerID()
	if err != nil {
		return "", err
	}
	return with("/approvals", "did", "disapproved"), p.approvals.Disapprove(v.ctx, id)
}
