package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of remembered routes.
const (
	maxRoutes    = 1 << 16
	routeFresh   = 30 * time.Second
	routeRenew   = 20 * time.Second // after which one that is used is looked up beside
	nowhereFresh = 2 * time.Second
	oldWait      = 300 * time.Millisecond // for the store, where there is an old route to use instead
)

// route is at which instance a peer was found, or that it was nowhere.
type route struct {
	instance string // "" for nowhere
	when     time.Time
}

// routes remembers where peers are connected.
type routes struct {
	now func() time.Time

	// Guarded by mu.
	mu    sync.Mutex
	known map[ident.PeerID]route
}

func newRoutes(now func() time.Time) *routes {
	return &routes{now: now, known: map[ident.PeerID]route{}}
}

// get returns a remembered route and its age.
func (r *routes) get(id ident.PeerID) (route, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.known[id]
	return got, r.now().Sub(got.when)
}

func (r *routes) put(id ident.PeerID, instance string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxRoutes {
		clear(r.known)
	}
	r.known[id] = route{instance, r.now()}
}

// Forward hands a message to a peer of another instance. It returns once the
// message is on its way or cannot go, at the latest when ctx ends, and calls
// done once: with nil when the peer has confirmed it, otherwise with a
// signal.Failure. What goes to one peer one after the other arrives in order,
// unless the peer moves meanwhile. Where it turns out that the message has not
// reached the peer, and may have on another way, that is tried, once.
func (k *Cluster) Forward(ctx context.Context, from, to ident.PeerID, body []byte, done func(error)) {
	f := forward{from: from, to: to, body: body}
	instance, asked, err := k.locate(ctx, to, false)
	if err != nil {
		done(err)
		return
	}
	again := func(ctx context.Context) {
		instance, _, err := k.locate(ctx, to, true)
		if err != nil {
			done(err)
			return
		}
		k.hand(ctx, instance, f, done)
	}
	err = k.try(ctx, instance, f, func(err error) {
		if !errors.Is(err, signal.FailureOffline) {
			done(err)
			return
		}
		if !k.spawn(func() { // this is the goroutine that reads the link
			ctx, cancel := context.WithTimeout(context.Background(), storeWait+dialWait)
			defer cancel()
			again(ctx)
		}) {
			done(err)
		}
	})
	switch {
	case err != nil && asked:
		done(err)
	case err != nil:
		again(ctx)
	}
}

// hand is try whose error goes to done as well.
func (k *Cluster) hand(ctx context.Context, instance string, f forward, done func(error)) {
	if err := k.try(ctx, instance, f, done); err != nil {
		done(err)
	}
}

// try sends a message to an instance. It returns a signal.Failure if it has not
// been sent; otherwise done is called.
func (k *Cluster) try(ctx context.Context, instance string, f forward, done func(error)) error {
	if instance == k.name { // the peer has just come here
		k.mu.Lock()
		local := k.local
		k.mu.Unlock()
		if local == nil {
			return signal.FailureUnavailable
		}
		local.Deliver(f.from, f.to, f.body, done)
		return nil
	}
	l, err := k.linkTo(ctx, instance)
	if err != nil {
		return err
	}
	return l.forward(f, k.clock(), done)
}

// locate returns at which instance a peer is, and whether the store has just
// said so. Errors are signal.Failures.
func (k *Cluster) locate(ctx context.Context, id ident.PeerID, ask bool) (instance string, asked bool, err error) {
	known, age := k.routes.get(id)
	fresh := routeFresh
	if known.instance == "" {
		fresh = nowhereFresh
	}
	switch {
	case ask || age >= fresh:
		instance, err = k.lookup(ctx, id, known.instance)
		return instance, true, err
	case known.instance == "":
		return "", false, signal.FailureOffline
	case age >= routeRenew:
		k.routes.put(id, known.instance) // so that it is looked up once
		k.spawn(func() {
			ctx, cancel := context.WithTimeout(context.Background(), storeWait)
			defer cancel()
			k.lookup(ctx, id, known.instance)
		})
	}
	return known.instance, false, nil
}

// lookup asks the store. While that does not answer, the instance where the peer
// was found last is as good as any: it knows best who is there.
func (k *Cluster) lookup(ctx context.Context, id ident.PeerID, old string) (string, error) {
	wait := storeWait
	if old != "" {
		wait = oldWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	got, err := k.lookups.Ask(ctx, id)
	switch {
	case err == nil && got.online:
		if got.at.Instance != k.name { // what is here is known better
			k.routes.put(id, got.at.Instance)
		}
		return got.at.Instance, nil
	case err == nil && !k.isUnsettled():
		k.routes.put(id, "")
		return "", signal.FailureOffline
	case old != "":
		return old, nil
	}
	return "", signal.FailureUnavailable
}
