package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Times of a lease.
const (
	leaseTTL    = 5 * time.Second
	renewEvery  = time.Second
	storeWait   = 3 * time.Second // for an answer of the store
	releaseWait = 2 * time.Second
	othersWait  = time.Second
	clockOff    = 2 * time.Second // between this machine and the store, to be warned of
)

// keepLease takes the lease and renews it until ctx ends.
func (k *Cluster) keepLease(ctx context.Context, local Local) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	failing := false
	for {
		err := k.renew(ctx, local)
		if (err != nil) != failing && ctx.Err() == nil {
			if failing = err != nil; failing {
				k.log.Warn("the instance's lease is not renewed; connected peers stay connected", "reason", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renew renews the lease or takes a new one, and reads who else is there. After
// a gap all peers here are written anew: the database may have lost them.
func (k *Cluster) renew(ctx context.Context, local Local) error {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	before, held := k.holder()
	h, err := k.claim(ctx, before)
	held = held && h == before
	var others []registry.Instance
	if err == nil {
		others, err = k.store.Instances(ctx, k.moment())
	}
	k.mu.Lock()
	k.held = err == nil
	if err == nil {
		k.epoch = h.Epoch
		if k.first == 0 {
			k.first = h.Epoch
		} else if h != before {
			// The others may have lost their leases as well, and not have new ones.
			k.unsettled = k.clock().Add(leaseTTL)
		}
	}
	k.mu.Unlock()
	if err != nil {
		return err
	}
	k.setMembers(others)
	if !held {
		k.log.Info("the instance has its lease", "instance", k.name, "epoch", h.Epoch)
		k.paths.all()
		k.presence.all(local.Peers())
		return k.sendAwayMoved(ctx, local)
	}
	return nil
}

// claim renews a lease, or takes another one if it is over.
func (k *Cluster) claim(ctx context.Context, h registry.Holder) (registry.Holder, error) {
	if err := k.readClock(ctx); err != nil {
		return h, err
	}
	if h.Epoch != 0 {
		if err := k.store.RenewLease(ctx, h, k.moment(), leaseTTL); !errors.Is(err, registry.ErrFenced) {
			return h, err
		}
	}
	i := registry.Instance{Name: k.name, Address: k.address, Region: k.region, Version: k.version, Relay: k.relay}
	epoch, err := k.store.TakeLease(ctx, i, k.moment(), leaseTTL)
	if err != nil {
		return h, err
	}
	return registry.Holder{Instance: k.name, Epoch: epoch}, nil
}

// readClock compares this machine's clock with the store's. It is corrected by
// what is certain, which is the better the faster the answer came.
func (k *Cluster) readClock(ctx context.Context) error {
	asked := k.clock()
	at, err := k.store.Clock(ctx)
	if err != nil {
		return err
	}
	half := k.clock().Sub(asked) / 2
	ahead, known := at.Sub(asked.Add(half)), time.Duration(k.ahead.Load())
	if (ahead - known).Abs() <= half+time.Millisecond {
		return nil
	}
	k.ahead.Store(int64(ahead))
	if ahead.Abs() > clockOff && (ahead-known).Abs() > clockOff/2 {
		k.log.Warn("this machine's clock and the database's differ; the database's is used for who is connected where: set both by NTP", "ahead", ahead.Round(time.Millisecond))
	}
	return nil
}

// moment is now by the store's clock.
func (k *Cluster) moment() time.Time { return k.clock().Add(time.Duration(k.ahead.Load())) }

// Now is the time by which the connections of all instances are put in order. It
// never goes back.
func (k *Cluster) Now() time.Time {
	now := k.moment().Truncate(time.Millisecond)
	for {
		last := k.latest.Load()
		if ms := now.UnixMilli(); ms <= last {
			return time.UnixMilli(last)
		} else if k.latest.CompareAndSwap(last, ms) {
			return now
		}
	}
}

// sendAwayMoved ends the sessions of peers that have connected to another
// instance while this one did not hear of it.
func (k *Cluster) sendAwayMoved(ctx context.Context, local Local) error {
	ids := make([]ident.PeerID, 0, registry.MaxBatch)
	look := func() error {
		at, err := k.store.LocatePeers(ctx, ids, k.moment())
		for id, l := range at {
			if l.Instance != k.name {
				local.Moved(id, l.Since)
			}
		}
		ids = ids[:0]
		return err
	}
	for id := range local.Peers() {
		if ids = append(ids, id); len(ids) == registry.MaxBatch {
			if err := look(); err != nil {
				return err
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return look()
}

// setMembers takes over who has a lease, ends the links to those who have not,
// and tries again to reach those who could not be reached. While the leases are
// taken anew, who is not there yet is thought to be.
func (k *Cluster) setMembers(list []registry.Instance) {
	list = slices.DeleteFunc(list, func(i registry.Instance) bool { return i.Name == k.name })
	k.mu.Lock()
	defer k.mu.Unlock()
	now := map[string]registry.Instance{}
	for _, i := range list {
		now[i.Name] = i
	}
	if k.unsettledLocked() {
		for name, i := range k.members {
			if _, there := now[name]; !there {
				now[name] = i
				list = append(list, i)
			}
		}
	}
	k.members = now
	for name, l := range k.links {
		if _, there := now[name]; !there {
			l.stop()
			delete(k.links, name)
		}
	}
	for name := range k.unreachable {
		if i, there := now[name]; !there {
			delete(k.unreachable, name)
		} else if k.links[name] == nil {
			k.dialLocked(i)
		}
	}
	if k.told != nil {
		k.told(list)
	}
}

// unsettledLocked reports whether the store may not know all leases and
// connections yet, having lost them.
func (k *Cluster) unsettledLocked() bool { return k.clock().Before(k.unsettled) }

func (k *Cluster) isUnsettled() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unsettledLocked()
}

// release ends the lease, so that nobody waits for it to lapse.
func (k *Cluster) release() {
	h, held := k.holder()
	if !held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseWait)
	defer cancel()
	if err := k.store.ReleaseLease(ctx, h); err != nil {
		k.log.Warn("the instance's lease is left to lapse", "reason", err)
	}
}
