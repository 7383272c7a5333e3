package cluster

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// LeaseStore keeps the leases of all instances.
type LeaseStore interface {
	// Clock returns the time of the clock that decides when leases expire.
	Clock(ctx context.Context) (time.Time, error)
	// TakeLease gives this process a lease with a new epoch until now+ttl, and
	// ends the one that a process of the same name had.
	TakeLease(ctx context.Context, i presence.Instance, now time.Time, ttl time.Duration) (epoch int64, err error)
	// RenewLease extends a lease until now+ttl. It returns presence.ErrFenced if
	// the lease has expired or another process has it.
	RenewLease(ctx context.Context, h presence.Holder, now time.Time, ttl time.Duration) error
	// ReleaseLease ends a lease and the presence that was written under it.
	ReleaseLease(ctx context.Context, h presence.Holder) error
	// Instances returns the instances that have a lease at now.
	Instances(ctx context.Context, now time.Time) ([]presence.Instance, error)
}

// PresenceStore keeps at which instance each peer is connected. Its methods take
// at most registry.MaxBatch peers.
type PresenceStore interface {
	// PutPresence stores that peers are connected at the holder, and returns
	// their older connections at other instances. It returns presence.ErrFenced
	// if the holder has no lease at now.
	PutPresence(ctx context.Context, h presence.Holder, now time.Time,
		peers []presence.Connection) ([]presence.Replacement, error)
	// RemovePresence stores that connections at the holder have ended. It returns
	// presence.ErrFenced if the holder has no lease at now.
	RemovePresence(ctx context.Context, h presence.Holder, now time.Time, peers []presence.Connection) error
	// LocatePeers returns where peers are connected. Peers that are offline are
	// not in the result.
	LocatePeers(ctx context.Context, ids []ident.PeerID, now time.Time) (map[ident.PeerID]presence.Location, error)
}

// ReportStore keeps what peers report about the links between them.
type ReportStore interface {
	// PutLinkReports stores reports of peers that are connected at the holder. It
	// returns presence.ErrFenced if the holder has no lease at now.
	PutLinkReports(ctx context.Context, h presence.Holder, now time.Time, reports []presence.LinkReport) error
}
