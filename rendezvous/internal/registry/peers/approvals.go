package peers

import (
	"context"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
)

// ApprovalTTL is the time that an approval is valid.
const ApprovalTTL = 7 * 24 * time.Hour

const maxApprovals = 10_000 // that are not used yet

// ApprovalStore keeps the peers that may register once without an invite.
// AdmissionStore uses approvals up.
type ApprovalStore interface {
	// Approve keeps an approval in place of an earlier one of the same peer.
	// Errors: ErrApprovalLimit beyond max approvals.
	Approve(ctx context.Context, a Approval, max int, e audit.Event) error
	// Disapprove removes an approval. Errors: ErrNotFound if the peer is not approved.
	Disapprove(ctx context.Context, id ident.PeerID, e audit.Event) error
	// Approvals returns at most limit approvals of peers with an ID above after,
	// in order, including those that have just expired.
	Approvals(ctx context.Context, after ident.PeerID, limit int) ([]Approval, error)
}

// Approval lets a peer register once without an invite.
type Approval struct {
	Peer    ident.PeerID
	Expires time.Time
}

// Approvals lets administrators approve peers. Its methods may be called
// concurrently.
type Approvals struct {
	store ApprovalStore
	now   func() time.Time
}

// NewApprovals returns the approvals of a store. A nil now is time.Now.
func NewApprovals(store ApprovalStore, now func() time.Time) (*Approvals, error) {
	if store == nil {
		return nil, errors.New("approvals: a store is needed")
	}
	return &Approvals{store: store, now: registry.Clock(now)}, nil
}

// Approve lets a peer register once without an invite, within seven days.
// Errors: ErrApprovalLimit.
func (s *Approvals) Approve(ctx context.Context, id ident.PeerID) (Approval, error) {
	e := audit.NewEvent(ctx, s.now(), audit.KindPeerApproved)
	e.Peer = id
	a := Approval{Peer: id, Expires: e.At.Add(ApprovalTTL)}
	return a, s.store.Approve(ctx, a, maxApprovals, e)
}

// Disapprove removes an approval that was not used yet. Errors: ErrNotFound.
func (s *Approvals) Disapprove(ctx context.Context, id ident.PeerID) error {
	e := audit.NewEvent(ctx, s.now(), audit.KindPeerDisapproved)
	e.Peer = id
	return s.store.Disapprove(ctx, id, e)
}

// Approvals returns at most limit approvals that were not used yet, of peers with
// an ID above after, in order.
func (s *Approvals) Approvals(ctx context.Context, after ident.PeerID, limit int) ([]Approval, error) {
	return s.store.Approvals(ctx, after, limit)
}
