package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

const (
	// staleRouteTimeout bounds the wait for the store if there is an expired route
	// to use instead.
	staleRouteTimeout = 300 * time.Millisecond
	// maxLookups bounds the queries under way at a time. One query for 100 peers
	// costs the database as much as five queries for one peer each.
	maxLookups = 4
)

// router forwards messages to the instances where their recipients are connected.
type router struct {
	// Static.
	name    string // of this instance
	store   PresenceStore
	clock   *storeClock
	members *members
	tasks   *tasks
	routes  *routes
	lookups *batch.Batch[ident.PeerID, location]

	mu    sync.Mutex // guards local
	local Local      // nil until Run
}

// location is the result of a lookup in the store.
type location struct {
	presence.Location
	online bool
}

// startLookups creates the batch of lookups.
func (r *router) startLookups() {
	r.lookups = batch.New(batch.Config[ident.PeerID, location]{
		Do: r.locateAll, MaxCalls: registry.MaxBatch, MaxRuns: maxLookups, Timeout: storeTimeout,
	})
}

// setLocal sets the sessions of this instance.
func (r *router) setLocal(local Local) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.local = local
}

// forward implements Cluster.Forward.
func (r *router) forward(ctx context.Context, f forward, done func(error)) {
	instance, cached, err := r.locate(ctx, f.to)
	if err != nil {
		done(err)
		return
	}
	err = r.send(ctx, instance, f, func(err error) {
		if !errors.Is(err, signal.FailureOffline) {
			done(err)
			return
		}
		// This goroutine reads the link and must not wait.
		if !r.tasks.start(func() {
			ctx, cancel := context.WithTimeout(context.Background(), storeTimeout+dialTimeout)
			defer cancel()
			r.forwardAgain(ctx, f, done)
		}) {
			done(err)
		}
	})
	switch {
	case err == nil:
	case cached:
		r.forwardAgain(ctx, f, done)
	default:
		done(err)
	}
}

// forwardAgain sends a message that did not arrive to where the store finds its
// recipient now.
func (r *router) forwardAgain(ctx context.Context, f forward, done func(error)) {
	cached, _ := r.routes.get(f.to)
	instance, err := r.lookup(ctx, f.to, cached.instance)
	if err == nil {
		err = r.send(ctx, instance, f, done)
	}
	if err != nil {
		done(err)
	}
}

// send sends a message to an instance. It returns a signal.Failure if the message
// was not sent; otherwise it calls done once.
func (r *router) send(ctx context.Context, instance string, f forward, done func(error)) error {
	if instance == r.name { // the peer has just connected here
		r.mu.Lock()
		local := r.local
		r.mu.Unlock()
		if local == nil {
			return signal.FailureUnavailable
		}
		local.Deliver(f.from, f.to, f.body, done)
		return nil
	}
	l, err := r.members.link(ctx, instance)
	if err != nil {
		return err
	}
	return l.forward(f, r.clock.local(), done)
}

// locate returns at which instance a peer is, and whether that comes from the
// cache. Errors are signal.Failures.
func (r *router) locate(ctx context.Context, id ident.PeerID) (instance string, cached bool, err error) {
	known, age := r.routes.get(id)
	ttl := routeTTL
	if known.instance == "" {
		ttl = offlineTTL
	}
	switch {
	case age >= ttl:
		instance, err = r.lookup(ctx, id, known.instance)
		return instance, false, err
	case known.instance == "":
		return "", true, signal.FailureOffline
	case age >= routeRefreshAge:
		r.routes.put(id, known.instance) // so that only one lookup starts
		r.tasks.start(func() {
			ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
			defer cancel()
			r.lookup(ctx, id, known.instance)
		})
	}
	return known.instance, true, nil
}

// lookup asks the store where a peer is. If the store does not answer, it returns
// the instance where the peer was found before, if any: that instance knows
// whether the peer is still there.
func (r *router) lookup(ctx context.Context, id ident.PeerID, before string) (string, error) {
	timeout := storeTimeout
	if before != "" {
		timeout = staleRouteTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := r.lookups.Call(ctx, id)
	switch {
	case err == nil && found.online:
		// A peer of this instance is not cached: its session says where it is.
		if found.Instance != r.name {
			r.routes.put(id, found.Instance)
		}
		return found.Instance, nil
	case err == nil && !r.members.keeps():
		r.routes.put(id, "")
		return "", signal.FailureOffline
	case before != "":
		return before, nil
	}
	return "", signal.FailureUnavailable
}

// elsewhere reports whether a peer is connected to another instance.
func (r *router) elsewhere(ctx context.Context, id ident.PeerID) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	found, err := r.lookups.Call(ctx, id)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: look up where the peer is connected: %w", registry.ErrUnavailable, err)
	}
	return found.online && found.Instance != r.name, err
}

// locateAll asks the store where peers are. It also reads the list of members if
// the answer names an instance that is not known.
func (r *router) locateAll(ctx context.Context, ids []ident.PeerID) []batch.Result[location] {
	found, err := r.store.LocatePeers(ctx, ids, r.clock.now())
	if err != nil {
		return batch.Failed[location](len(ids), err)
	}
	for _, l := range found {
		if l.Instance != r.name && !r.members.reached(l.Instance, l.Epoch) {
			err = r.members.read(ctx)
			break
		}
	}
	answers := make([]batch.Result[location], len(ids))
	for i, id := range ids {
		l, online := found[id]
		answers[i] = batch.Result[location]{Value: location{l, online}, Err: err}
	}
	return answers
}
