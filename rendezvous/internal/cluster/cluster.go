package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Local represents the sessions of this instance.
type Local interface {
	// Deliver queues a message for a peer of this instance and does not block. It
	// calls done once, from any goroutine: with nil when the peer has confirmed
	// the message, otherwise with a signal.Failure.
	Deliver(from, to ident.PeerID, body []byte, done func(error))
	// Peers returns the peers that are connected here, and when each connected.
	Peers() map[ident.PeerID]time.Time
	// Moved ends the session of a peer that has connected to another instance at
	// the time since.
	Moved(id ident.PeerID, since time.Time)
}

// Config configures an instance.
type Config struct {
	Leases   LeaseStore
	Presence PresenceStore
	Reports  ReportStore
	Name     string       // of this instance, unique; at most 128 bytes
	Listener net.Listener // for links from other instances; nil if there are none
	Address  string       // host:port at which other instances reach Listener
	Region   string       // where this instance stands, for people; at most 64 characters
	Version  string       // of the software, for people; at most 64 characters
	Relay    string       // the addresses at which this instance relays; "" if it does not
	Key      ident.Key    // shared by all instances
	Logger   *slog.Logger
	Now      func() time.Time // nil: the machine's clock
	// OnMembers is called with the other instances that have a lease, each time
	// that the list was read, by one goroutine at a time. It must not call the
	// Cluster. It may be nil.
	OnMembers func([]presence.Instance)
}

// Cluster connects this instance with the others. Its methods may be called
// concurrently.
type Cluster struct {
	clock    *storeClock
	lease    *lease
	keeper   *leaseKeeper
	links    *links
	members  *members
	changes  *changes
	reports  *reports
	writer   *writer
	router   *router
	acceptor *acceptor
	tasks    *tasks
}

// New returns an instance of a cluster. It starts nothing.
func New(c Config) (*Cluster, error) {
	if c.Leases == nil || c.Presence == nil || c.Reports == nil || c.Logger == nil {
		return nil, errors.New("cluster: stores and a logger are required")
	}
	if c.Name == "" || len(c.Name) > maxName {
		return nil, fmt.Errorf("instance name %q: want 1 to %d bytes", c.Name, maxName)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var config *tls.Config
	if c.Listener != nil {
		var err error
		if config, err = mutualTLS(c.Key); err != nil {
			return nil, err
		}
	}
	k := &Cluster{
		clock:   &storeClock{store: c.Leases, local: c.Now, log: c.Logger},
		lease:   &lease{name: c.Name, first: make(chan struct{})},
		changes: newChanges(),
		reports: newReports(),
		tasks:   &tasks{},
	}
	k.links = &links{
		tls: config, lease: k.lease, tasks: k.tasks, now: c.Now, log: c.Logger,
		byName: map[string]*link{}, unreachable: map[string]bool{},
	}
	k.members = &members{
		name: c.Name, store: c.Leases, clock: k.clock, links: k.links, onChange: c.OnMembers,
		byName: map[string]presence.Instance{},
	}
	k.keeper = &leaseKeeper{
		store: c.Leases, clock: k.clock, lease: k.lease, members: k.members, log: c.Logger,
		self: presence.Instance{Name: c.Name, Address: c.Address, Region: c.Region, Version: c.Version, Relay: c.Relay},
	}
	k.writer = &writer{
		name: c.Name, presenceStore: c.Presence, reportStore: c.Reports, changes: k.changes, reports: k.reports,
		clock: k.clock, lease: k.lease, members: k.members, tasks: k.tasks, log: c.Logger,
	}
	k.router = &router{
		name: c.Name, store: c.Presence, clock: k.clock, members: k.members, tasks: k.tasks, routes: newRoutes(c.Now),
	}
	k.router.startLookups()
	k.acceptor = &acceptor{listener: c.Listener, tls: config, lease: k.lease, members: k.members, log: c.Logger}
	return k, nil
}

// Run holds the lease and serves links until ctx ends.
func (k *Cluster) Run(ctx context.Context, local Local) error {
	k.router.setLocal(local)
	var running sync.WaitGroup
	running.Go(func() {
		k.keeper.run(ctx, func(ctx context.Context) error { return k.writer.restore(ctx, local) })
	})
	running.Go(func() { k.writer.run(ctx) })
	if k.acceptor.listener != nil {
		running.Go(func() { k.acceptor.run(ctx, local) })
	}
	<-ctx.Done()
	k.tasks.close()
	k.links.close()
	running.Wait()
	k.tasks.wait()
	k.router.lookups.Close()
	k.keeper.release()
	return nil
}

// Joined returns a channel that is closed when this instance has its first lease.
func (k *Cluster) Joined() <-chan struct{} { return k.lease.first }

// Ready returns nil if this instance has its lease, so that the others find it.
func (k *Cluster) Ready() error {
	if _, held := k.lease.holder(); !held {
		return errors.New("this instance has no lease: the database does not answer, or the instance was paused")
	}
	return nil
}

// Others reports whether another instance has a lease now, as the store says. If
// the store does not answer, the members that were known last count.
func (k *Cluster) Others(ctx context.Context) bool { return k.members.others(ctx) }

// Elsewhere reports whether a peer is connected to another instance.
func (k *Cluster) Elsewhere(ctx context.Context, id ident.PeerID) (bool, error) {
	return k.router.elsewhere(ctx, id)
}

// Forward sends a message to a peer of another instance. It returns when the
// message was sent or cannot be sent, or when ctx ends. It calls done once: with
// nil when the peer has confirmed the message, otherwise with a signal.Failure.
//
// Messages that are forwarded to one peer one after the other arrive in order,
// unless the peer moves to another instance meanwhile. If the message did not
// reach the peer and the route may have been outdated, Forward looks the peer up
// and tries once more.
func (k *Cluster) Forward(ctx context.Context, from, to ident.PeerID, body []byte, done func(error)) {
	k.router.forward(ctx, forward{from: from, to: to, body: body}, done)
}

// Holder returns this instance's claim. Its epoch is 0 before the first lease.
func (k *Cluster) Holder() presence.Holder {
	h, _ := k.lease.holder()
	return h
}

// Now returns the time that orders the connections of all instances. It never
// goes back.
func (k *Cluster) Now() time.Time { return k.clock.monotonic() }

// Connected stores that a peer is connected here. It does not block.
func (k *Cluster) Connected(id ident.PeerID, since time.Time) {
	k.changes.add(id, change{since, true})
}

// Disconnected stores that a peer's connection has ended. It does not block.
func (k *Cluster) Disconnected(id ident.PeerID, since time.Time) {
	k.reports.remove(id, since)
	k.changes.add(id, change{since, false})
}

// ReportLink stores a link report of a peer, on its connection that began at since. It
// does not block.
func (k *Cluster) ReportLink(id ident.PeerID, since time.Time, m signal.LinkReport) {
	if k.reports.add(id, since, m, k.clock.now().Truncate(time.Millisecond)) {
		k.changes.wakeWriter()
	}
}

// Stats holds figures of this instance at a moment.
type Stats struct {
	Held      bool  // this instance has its lease
	Epoch     int64 // of the lease
	Instances int   // with a lease, including this one
	Links     int   // to other instances
	Backlog   int   // peers whose connection or disconnection is not in the store yet
}

// Stats returns the figures of this moment.
func (k *Cluster) Stats() Stats {
	h, held := k.lease.holder()
	s := Stats{
		Held: held, Epoch: h.Epoch,
		Instances: k.members.count(), Links: k.links.count(), Backlog: k.changes.count(),
	}
	if held {
		s.Instances++
	}
	return s
}
