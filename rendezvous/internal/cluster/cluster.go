package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Store is where leases and presence are kept.
type Store interface {
	registry.LeaseStore
	registry.PresenceStore
	// PutPaths is that of registry.PathStore.
	PutPaths(ctx context.Context, h registry.Holder, now time.Time, paths []registry.Path) error
}

// Local is this instance's sessions.
type Local interface {
	// Deliver queues a message for a peer here and does not block. It calls
	// done once, from any goroutine: with nil when the peer has confirmed the
	// message, otherwise with a signal.Failure.
	Deliver(from, to ident.PeerID, body []byte, done func(error))
	// Peers lists the peers here, and since when.
	Peers() map[ident.PeerID]time.Time
	// Moved says that a peer has connected elsewhere at the time since.
	Moved(id ident.PeerID, since time.Time)
}

// Config is what an instance needs to be one of a cluster.
type Config struct {
	Store    Store
	Name     string       // of this instance, unique; at most 128 bytes
	Listener net.Listener // of links from other instances; nil: there are no others
	Address  string       // host:port by which other instances reach Listener
	Region   string       // where this instance stands, for people; at most 64 characters
	Version  string       // of the software, for people; at most 64 characters
	Relay    string       // where this instance relays; "" if nowhere
	Key      ident.Key    // all instances have the same
	Logger   *slog.Logger
	Now      func() time.Time // nil: the machine's clock
	// OnMembers is told who else has a lease, after each look, one call at a
	// time. It must not call back. Nil is fine.
	OnMembers func([]registry.Instance)
}

// Cluster is this instance's place among the others. Its methods may be called
// concurrently.
type Cluster struct {
	// Static after New.
	store    Store
	name     string
	listener net.Listener
	address  string
	region   string
	version  string
	relay    string
	tls      *tls.Config
	log      *slog.Logger
	clock    func() time.Time // this machine's
	told     func([]registry.Instance)
	presence *presence
	paths    *paths
	routes   *routes
	lookups  *batch.Batch[ident.PeerID, found]

	ahead  atomic.Int64   // nanoseconds by which the store's clock is ahead of this machine's
	latest atomic.Int64   // what Now returned last, in unix milliseconds
	beside sync.WaitGroup // what spawn has started

	// Guarded by mu.
	mu          sync.Mutex
	local       Local // nil until Run
	epoch       int64
	first       int64     // the first epoch of this process
	held        bool      // the lease was held when it was last renewed
	unsettled   time.Time // until then, by the machine's clock, the store may not know everybody
	members     map[string]registry.Instance
	links       map[string]*link
	unreachable map[string]bool // instances that could not be dialed, or have fallen silent
	closed      bool
}

// New makes an instance of a cluster. It starts nothing.
func New(c Config) (*Cluster, error) {
	if c.Store == nil || c.Logger == nil {
		return nil, errors.New("cluster: a store and a logger are needed")
	}
	if c.Name == "" || len(c.Name) > maxName {
		return nil, fmt.Errorf("instance name %q: want 1 to %d bytes", c.Name, maxName)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	k := &Cluster{
		store: c.Store, name: c.Name, listener: c.Listener, address: c.Address, region: c.Region, version: c.Version, relay: c.Relay, log: c.Logger, clock: c.Now, told: c.OnMembers,
		presence:    newPresence(),
		paths:       newPaths(),
		routes:      newRoutes(c.Now),
		members:     map[string]registry.Instance{},
		links:       map[string]*link{},
		unreachable: map[string]bool{},
	}
	k.lookups = k.newLookups()
	if c.Listener == nil {
		return k, nil
	}
	var err error
	k.tls, err = mutual(c.Key)
	return k, err
}

// mutual is the TLS of links, at either end: both have the cluster's key.
func mutual(key ident.Key) (*tls.Config, error) {
	only := key.ID()
	return ident.MutualTLS(key, alpn, func(id ident.PeerID) error {
		if id != only {
			return errors.New("it does not have the cluster's key")
		}
		return nil
	})
}

// Run holds the lease and serves links until ctx ends.
func (k *Cluster) Run(ctx context.Context, local Local) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.mu.Lock()
	k.local = local
	k.mu.Unlock()
	running.Go(func() { k.keepLease(ctx, local) })
	running.Go(func() { k.writePresence(ctx) })
	if k.listener != nil {
		running.Go(func() { k.accept(ctx, local) })
	}
	<-ctx.Done()
	k.closeLinks()
	running.Wait()
	k.beside.Wait()
	k.lookups.Close()
	k.release()
	return nil
}

// spawn runs f beside, for Run to wait for. It reports whether it does so: once
// Run ends, nothing is begun.
func (k *Cluster) spawn(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.beside.Go(f)
	return true
}

// Ready returns why the instance cannot be found by the others, or nil.
func (k *Cluster) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.held {
		return errors.New("the instance's lease is not held: the database does not answer, or the instance was paused")
	}
	return nil
}

// Others reports whether another instance holds a lease now: one may have begun,
// or ended, since this one renewed its own. If the store does not say, or may not
// know, what it said last counts.
func (k *Cluster) Others(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, othersWait)
	defer cancel()
	if list, err := k.store.Instances(ctx, k.moment()); err == nil && !k.isUnsettled() {
		return slices.ContainsFunc(list, func(i registry.Instance) bool { return i.Name != k.name })
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.members) > 0
}

// Elsewhere reports whether a peer is connected to another instance. Of this one
// the database knows a moment later than its sessions do.
func (k *Cluster) Elsewhere(ctx context.Context, id ident.PeerID) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	got, err := k.lookups.Ask(ctx, id)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: where the peer is: %w", registry.ErrUnavailable, err)
	}
	return got.online && got.at.Instance != k.name, err
}

// Holder is this instance's claim; its epoch is 0 before it has one.
func (k *Cluster) Holder() registry.Holder {
	h, _ := k.holder()
	return h
}

// holder is this instance's claim, and whether it stood when last looked at.
func (k *Cluster) holder() (registry.Holder, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return registry.Holder{Instance: k.name, Epoch: k.epoch}, k.held
}
