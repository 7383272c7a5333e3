package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const othersTimeout = time.Second // for the list of members when this instance stops

// members holds which other instances have a lease.
type members struct {
	// Static.
	name     string // of this instance, which is not a member to itself
	store    LeaseStore
	clock    *storeClock
	links    *links
	onChange func([]presence.Instance) // may be nil

	// Guarded by mu.
	mu        sync.Mutex
	byName    map[string]presence.Instance
	keepUntil time.Time // by the machine's clock; until then, no member is removed
}

// set replaces the list of members, closes the links to those that have gone and
// dials those again that could not be reached.
func (m *members) set(list []presence.Instance) {
	list = slices.DeleteFunc(list, func(i presence.Instance) bool { return i.Name == m.name })
	m.mu.Lock()
	defer m.mu.Unlock()
	byName := map[string]presence.Instance{}
	for _, i := range list {
		byName[i.Name] = i
	}
	if m.keepsLocked() {
		for name, i := range m.byName {
			if _, listed := byName[name]; !listed {
				byName[name] = i
				list = append(list, i)
			}
		}
	}
	m.byName = byName
	m.links.update(byName)
	if m.onChange != nil {
		m.onChange(list)
	}
}

// read reads the list of members from the store.
func (m *members) read(ctx context.Context) error {
	list, err := m.store.Instances(ctx, m.clock.now())
	if err == nil {
		m.set(list)
	}
	return err
}

// keepKnown removes no member for some time: the store may have lost leases, and
// the presence under them, that their instances will write again.
func (m *members) keepKnown(ttl time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keepUntil = m.clock.local().Add(ttl)
}

// keeps reports whether the store may lack leases and presence that it has lost.
func (m *members) keeps() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keepsLocked()
}

// keepsLocked is keeps. mu must be held.
func (m *members) keepsLocked() bool { return m.clock.local().Before(m.keepUntil) }

// current reports whether an instance's lease has this epoch.
func (m *members) current(name string, epoch int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return epoch != 0 && m.byName[name].Epoch == epoch
}

// reached reports whether an instance has a lease with this epoch or a later one.
func (m *members) reached(name string, epoch int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.byName[name]
	return ok && epoch != 0 && epoch <= i.Epoch
}

// count returns the number of other members.
func (m *members) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.byName)
}

// others reports whether another instance has a lease now. It asks the store,
// because an instance may have started or stopped since the last renewal. If the
// store does not answer or may have lost leases, the known members count.
func (m *members) others(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, othersTimeout)
	defer cancel()
	if list, err := m.store.Instances(ctx, m.clock.now()); err == nil && !m.keeps() {
		return slices.ContainsFunc(list, func(i presence.Instance) bool { return i.Name != m.name })
	}
	return m.count() > 0
}

// link returns the link to an instance, dialing it if needed. Errors are
// signal.Failures.
func (m *members) link(ctx context.Context, name string) (*link, error) {
	m.mu.Lock()
	member, known := m.byName[name]
	m.mu.Unlock()
	switch {
	case known:
		return m.links.get(ctx, member)
	case m.links.usable():
		// Its lease has expired, and with it the presence of its peers.
		return nil, signal.FailureOffline
	}
	return nil, signal.FailureUnavailable
}
