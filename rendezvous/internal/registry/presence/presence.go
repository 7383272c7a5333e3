// Package presence describes at which instance each peer is connected, and the
// links between peers as the peers report them.
//
// Every instance holds a lease with an epoch of its own. The rows of an instance
// carry its epoch and count only while the lease is held, so that everything an
// instance wrote ends with it.
package presence

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// ErrFenced is the error of a holder that has lost its lease.
var ErrFenced = &registry.Error{Text: "the lease is lost"}

// LeaseRetention is the time that a lapsed lease is kept. An instance whose clock
// runs ahead must not remove a lease that another instance still holds.
const LeaseRetention = time.Minute

// LeaseStore keeps the leases of the instances, one row each. If instances on
// several machines share the store, a lease ends by the store's own clock even
// if the caller's time is earlier: a process that was paused cannot use a lease
// with an old time.
type LeaseStore interface {
	// Clock returns the time of the store's clock, which orders the leases and
	// connections of all instances.
	Clock(ctx context.Context) (time.Time, error)
	// TakeLease makes this process the instance i until now+ttl, also if another
	// process holds that lease, and returns an epoch that no earlier lease had.
	// It ignores i.Epoch and i.Until.
	TakeLease(ctx context.Context, i Instance, now time.Time, ttl time.Duration) (epoch int64, err error)
	// RenewLease extends a lease until now+ttl. Errors: ErrFenced if the lease
	// has lapsed or another process has taken it.
	RenewLease(ctx context.Context, h Holder, now time.Time, ttl time.Duration) error
	// ReleaseLease ends a lease and the presence under it. It is not an error if
	// the lease is not held.
	ReleaseLease(ctx context.Context, h Holder) error
	// Instances returns the instances that hold a lease at now, ordered by name.
	Instances(ctx context.Context, now time.Time) ([]Instance, error)
}

// Store keeps the connections of peers. Batches are bounded by
// registry.MaxBatch.
type Store interface {
	// PutPresence records connections to the holder. For each peer the newest
	// connection wins; rows of lapsed leases always lose. It returns the older
	// connections at other instances that hold a lease, which do not know yet
	// that they were replaced. Errors: ErrFenced if the holder has no lease at
	// now; then nothing is written.
	PutPresence(ctx context.Context, h Holder, now time.Time, peers []Connection) ([]Replacement, error)
	// RemovePresence records that connections have ended. It removes only rows
	// of the holder for these or older connections, and keeps now as the time
	// when those peers were last seen. Errors: ErrFenced.
	RemovePresence(ctx context.Context, h Holder, now time.Time, peers []Connection) error
	// LocatePeers returns where peers are connected. Peers that are not
	// connected are missing from the map.
	LocatePeers(ctx context.Context, ids []ident.PeerID, now time.Time) (map[ident.PeerID]Location, error)
	// LastSeen returns when the last connection of each peer ended. The map
	// misses peers that never connected or whose instance died.
	LastSeen(ctx context.Context, ids []ident.PeerID) (map[ident.PeerID]time.Time, error)
	// CountPresence returns the number of connected peers by epoch, including
	// lapsed epochs. It reads every row.
	CountPresence(ctx context.Context) (map[int64]int, error)
}

// Holder is an instance's claim to its lease.
type Holder struct {
	Instance string
	Epoch    int64
}

// Instance is a process of the rendezvous that has a lease.
type Instance struct {
	Name    string
	Epoch   int64
	Address string // where the other instances reach it
	Version string // of the software; "" from a version that does not report it
	Region  string // the operator's name for its location; "" without one
	Relay   string // the relay's addresses in the format of relay.Range; "" from a version that does not report them
	Until   time.Time
}

// Connection is one connection of a peer.
type Connection struct {
	Peer  ident.PeerID
	Since time.Time
}

// Replacement is an older connection of a peer that a new one replaced.
type Replacement struct {
	Connection        // the new connection
	Instance   string // that has the older connection
}

// Location is the connection of a peer and its instance.
type Location struct {
	Instance string
	Epoch    int64
	Since    time.Time
}
