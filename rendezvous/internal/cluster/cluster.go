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
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Store is where leases and presence are kept.
type Store interface {
	registry.LeaseStore
	registry.PresenceStore
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
	Relay    string       // where this instance relays; "" if nowhere
	Key      ident.Key    // all instances have the same
	Logger   *slog.Logger
	Now      func() time.Time // nil: the machine's clock
	// OnMembers is told who else has a lease, after each look, one call at a
	// time. Nil is fine.
	OnMembers func([]registry.Instance)
}

// Times of a lease.
const (
	leaseTTL    = 5 * time.Second
	renewEvery  = time.Second
	storeWait   = 3 * time.Second // for an answer of the store
	releaseWait = 2 * time.Second
)

// Cluster is this instance's place among the others. Its methods may be called
// concurrently.
type Cluster struct {
	// Static after New.
	store    Store
	name     string
	listener net.Listener
	address  string
	region   string
	relay    string
	tls      *tls.Config
	log      *slog.Logger
	now      func() time.Time
	told     func([]registry.Instance)
	presence *presence
	routes   *routes
	dialing  sync.WaitGroup // links that this instance has dialed

	// Guarded by mu.
	mu      sync.Mutex
	epoch   int64
	held    bool // the lease was held when it was last renewed
	members map[string]registry.Instance
	links   map[string]*link
	closed  bool
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
		store: c.Store, name: c.Name, listener: c.Listener, address: c.Address, region: c.Region, relay: c.Relay, log: c.Logger, now: c.Now, told: c.OnMembers,
		presence: newPresence(),
		routes:   newRoutes(c.Now),
		members:  map[string]registry.Instance{},
		links:    map[string]*link{},
	}
	if c.Listener == nil {
		return k, nil
	}
	only := c.Key.ID()
	var err error
	k.tls, err = ident.MutualTLS(c.Key, alpn, func(id ident.PeerID) error {
		if id != only {
			return errors.New("it does not have the cluster's key")
		}
		return nil
	})
	return k, err
}

// Run holds the lease and serves links until ctx ends.
func (k *Cluster) Run(ctx context.Context, local Local) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { k.keepLease(ctx, local) })
	running.Go(func() { k.writePresence(ctx) })
	if k.listener != nil {
		running.Go(func() { k.accept(ctx, local) })
	}
	<-ctx.Done()
	k.closeLinks()
	running.Wait()
	k.release()
	return nil
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

// Elsewhere reports whether a peer is connected to another instance. Of this one
// the database knows a moment later than its sessions do.
func (k *Cluster) Elsewhere(ctx context.Context, id ident.PeerID) (bool, error) {
	at, err := k.store.LocatePeers(ctx, []ident.PeerID{id}, k.now())
	if err != nil {
		return false, err
	}
	l, online := at[id]
	return online && l.Instance != k.name, nil
}

// holder is this instance's claim, and whether it stood when last looked at.
func (k *Cluster) holder() (registry.Holder, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return registry.Holder{Instance: k.name, Epoch: k.epoch}, k.held
}

// keepLease takes the lease and renews it until ctx ends.
func (k *Cluster) keepLease(ctx context.Context, local Local) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		if err := k.renew(ctx, local); err != nil && ctx.Err() == nil {
			k.log.Warn("the instance's lease is not renewed; connected peers stay connected", "reason", err)
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
	h, held := k.holder()
	var err error
	if h.Epoch != 0 {
		err = k.store.RenewLease(ctx, h, k.now(), leaseTTL)
	}
	if h.Epoch == 0 || errors.Is(err, registry.ErrFenced) {
		h.Epoch, err = k.store.TakeLease(ctx, registry.Instance{Name: k.name, Address: k.address, Region: k.region, Relay: k.relay}, k.now(), leaseTTL)
		held = false
	}
	var others []registry.Instance
	if err == nil {
		others, err = k.store.Instances(ctx, k.now())
	}
	k.mu.Lock()
	k.held = err == nil
	if err == nil {
		k.epoch = h.Epoch
	}
	k.mu.Unlock()
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(i registry.Instance) bool { return i.Name == k.name })
	k.setMembers(others)
	if k.told != nil {
		k.told(others)
	}
	if !held {
		k.log.Info("the instance has its lease", "instance", k.name, "epoch", h.Epoch)
		k.presence.all(local.Peers())
		return k.sendAwayMoved(ctx, local)
	}
	return nil
}

// sendAwayMoved ends the sessions of peers that have connected to another
// instance while this one did not hear of it.
func (k *Cluster) sendAwayMoved(ctx context.Context, local Local) error {
	ids := make([]ident.PeerID, 0, registry.MaxBatch)
	look := func() error {
		at, err := k.store.LocatePeers(ctx, ids, k.now())
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

// setMembers takes over who else has a lease, and ends the links to and from those
// who have not.
func (k *Cluster) setMembers(list []registry.Instance) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.members)
	for _, i := range list {
		k.members[i.Name] = i
	}
	for name, l := range k.links {
		if k.members[name].Epoch != l.epoch {
			l.close()
			delete(k.links, name)
		}
	}
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
