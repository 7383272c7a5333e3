package history

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// lastMinuteAge is the highest age of the newest figures of a running instance.
const lastMinuteAge = 3 * time.Minute

// The parts of the stores that Instances reads.
type (
	// InstanceLister lists the running instances; see presence.LeaseStore.
	InstanceLister interface {
		Instances(ctx context.Context, now time.Time) ([]presence.Instance, error)
	}
	// PresenceCounter counts the connected peers by epoch; see presence.Store.
	PresenceCounter interface {
		CountPresence(ctx context.Context) (map[int64]int, error)
	}
	// LastMinutes reads the newest figures of each instance; see Store.
	LastMinutes interface {
		LastMinutes(ctx context.Context, since time.Time) (map[string]Minute, error)
	}
)

// InstanceStatus is an instance, the number of peers that are connected to it, and
// its newest figures.
type InstanceStatus struct {
	presence.Instance
	Peers int
	Last  *Minute // nil without figures of the last minutes
}

// Instances lists the running instances with their figures.
type Instances struct {
	leases   InstanceLister
	presence PresenceCounter
	minutes  LastMinutes
	now      func() time.Time
}

// NewInstances returns the instances of a database. A nil now is time.Now.
func NewInstances(l InstanceLister, p PresenceCounter, m LastMinutes, now func() time.Time) *Instances {
	return &Instances{leases: l, presence: p, minutes: m, now: registry.Clock(now)}
}

// Instances returns the instances that hold a lease, ordered by name.
func (s *Instances) Instances(ctx context.Context) ([]InstanceStatus, error) {
	list, err := s.leases.Instances(ctx, s.now())
	if err != nil {
		return nil, err
	}
	counts, err := s.presence.CountPresence(ctx)
	if err != nil {
		return nil, err
	}
	last, err := s.minutes.LastMinutes(ctx, s.now().Add(-lastMinuteAge))
	if err != nil {
		return nil, err
	}
	all := make([]InstanceStatus, len(list))
	for n, i := range list {
		all[n] = InstanceStatus{Instance: i, Peers: counts[i.Epoch]}
		if m, ok := last[i.Name]; ok {
			all[n].Last = &m
		}
	}
	return all, nil
}
