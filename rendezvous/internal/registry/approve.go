package registry

import (
	"context"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// maxApprovals bounds the approvals that wait to be used.
const maxApprovals = 10_000

// Approve lets a peer register once without an invite, within ApprovalTTL.
// Errors: ErrApprovalLimit.
func (r *Registry) Approve(ctx context.Context, id ident.PeerID) (Approval, error) {
	e := r.event(ctx, EventPeerApproved)
	e.Peer = id
	a := Approval{Peer: id, Expires: e.At.Add(ApprovalTTL)}
	return a, r.cfg.Store.Approve(ctx, a, maxApprovals, e)
}

// Disapprove takes an approval back that was not used yet. Errors:
// ErrPeerNotFound.
func (r *Registry) Disapprove(ctx context.Context, id ident.PeerID) error {
	e := r.event(ctx, EventPeerDisapproved)
	e.Peer = id
	return r.cfg.Store.Disapprove(ctx, id, e)
}

// Approvals returns at most limit approvals that wait to be used, of peers with
// an ID above after, in order.
func (r *Registry) Approvals(ctx context.Context, after ident.PeerID, limit int) ([]Approval, error) {
	return r.cfg.Store.Approvals(ctx, after, limit)
}
