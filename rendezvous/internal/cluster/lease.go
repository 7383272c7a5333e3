package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const (
	leaseTTL       = 5 * time.Second
	renewInterval  = time.Second
	storeTimeout   = 3 * time.Second // for an answer of the store
	releaseTimeout = 2 * time.Second
)

// lease holds which lease this instance has.
type lease struct {
	name  string        // of this instance
	first chan struct{} // closed when the first lease has been taken

	// Guarded by mu.
	mu         sync.Mutex
	epoch      int64 // 0 before the first lease
	firstEpoch int64 // of this process
	held       bool  // the last renewal succeeded
}

// holder returns this instance's claim, and whether the lease was held when it
// was last renewed.
func (l *lease) holder() (presence.Holder, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return presence.Holder{Instance: l.name, Epoch: l.epoch}, l.held
}

// taken stores that the lease of an epoch was taken or renewed.
func (l *lease) taken(epoch int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.held = epoch, true
	if l.firstEpoch == 0 {
		l.firstEpoch = epoch
		close(l.first)
	}
}

// lost stores that the lease of an epoch may be lost. The next renewal finds out,
// and then writes all peers again.
func (l *lease) lost(epoch int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch == epoch {
		l.held = false
	}
}

// had reports whether this process has or had the lease of an epoch.
func (l *lease) had(epoch int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstEpoch != 0 && l.firstEpoch <= epoch && epoch <= l.epoch
}

// leaseKeeper takes the lease and renews it.
type leaseKeeper struct {
	store   LeaseStore
	clock   *storeClock
	self    presence.Instance // without an epoch
	lease   *lease
	members *members
	log     *slog.Logger
}

// run renews the lease until ctx ends. It calls restore after each time that this
// instance was without a lease: the store may have lost what was written under
// the one before.
func (k *leaseKeeper) run(ctx context.Context, restore func(context.Context) error) {
	tick := time.NewTicker(renewInterval)
	defer tick.Stop()
	failing := false
	for {
		err := k.renew(ctx, restore)
		if (err != nil) != failing && ctx.Err() == nil {
			if failing = err != nil; failing {
				k.log.Warn("cannot renew the lease of this instance; peers stay connected", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renew renews the lease or takes a new one, and reads the list of members.
func (k *leaseKeeper) renew(ctx context.Context, restore func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	before, held := k.lease.holder()
	after, err := k.claim(ctx, before)
	var list []presence.Instance
	if err == nil {
		list, err = k.store.Instances(ctx, k.clock.now())
	}
	if err != nil {
		k.lease.lost(before.Epoch)
		return err
	}
	if before.Epoch != 0 && after != before {
		// The others may have lost their leases too, and not have new ones yet.
		k.members.keepKnown(leaseTTL)
	}
	k.lease.taken(after.Epoch)
	k.members.set(list)
	if held && after == before {
		return nil
	}
	k.log.Info("this instance has its lease", "instance", k.self.Name, "epoch", after.Epoch)
	return restore(ctx)
}

// claim renews the lease of h, or takes a new one if that has expired.
func (k *leaseKeeper) claim(ctx context.Context, h presence.Holder) (presence.Holder, error) {
	if err := k.clock.read(ctx); err != nil {
		return h, err
	}
	if h.Epoch != 0 {
		if err := k.store.RenewLease(ctx, h, k.clock.now(), leaseTTL); !errors.Is(err, presence.ErrFenced) {
			return h, err
		}
	}
	epoch, err := k.store.TakeLease(ctx, k.self, k.clock.now(), leaseTTL)
	if err != nil {
		return h, err
	}
	return presence.Holder{Instance: k.self.Name, Epoch: epoch}, nil
}

// release ends the lease, so that nobody has to wait until it expires.
func (k *leaseKeeper) release() {
	h, held := k.lease.holder()
	if !held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := k.store.ReleaseLease(ctx, h); err != nil {
		k.log.Warn("cannot release the lease of this instance; it will expire", "err", err)
	}
}
