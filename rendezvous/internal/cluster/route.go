package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Bounds of remembered routes.
const (
	maxRoutes    = 1 << 16
	routeFresh   = 30 * time.Second
	nowhereFresh = 2 * time.Second
)

// route is where a peer was found, or that it was nowhere.
type route struct {
	at    registry.Location
	found bool
	when  time.Time
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

// get returns a remembered route and whether it is fresh.
func (r *routes) get(id ident.PeerID) (got route, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got, known := r.known[id]
	limit := nowhereFresh
	if got.found {
		limit = routeFresh
	}
	return got, known && r.now().Sub(got.when) < limit
}

func (r *routes) put(id ident.PeerID, new route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxRoutes {
		clear(r.known)
	}
	r.known[id] = new
}

// Forward hands a message to a peer of another instance. It returns nil once
// the peer has confirmed it, otherwise a signal.Failure. A route that turns out
// to be old is looked up again, once.
func (k *Cluster) Forward(ctx context.Context, from, to ident.PeerID, body []byte) error {
	f := forward{from: from, to: to, body: body}
	at, asked, err := k.locate(ctx, to, false)
	if err != nil {
		return err
	}
	err = k.forwardTo(ctx, at, f)
	if asked || !errors.Is(err, signal.FailureOffline) {
		return err
	}
	if at, _, err = k.locate(ctx, to, true); err != nil {
		return err
	}
	return k.forwardTo(ctx, at, f)
}

// locate returns where a peer is, and whether the database has just said so.
func (k *Cluster) locate(ctx context.Context, id ident.PeerID, ask bool) (at registry.Location, asked bool, err error) {
	known, fresh := k.routes.get(id)
	if !fresh || ask {
		known, err = k.lookup(ctx, id, known)
		if err != nil {
			return at, false, signal.FailureUnavailable
		}
		asked = true
	}
	if !known.found || known.at.Instance == k.name {
		return at, asked, signal.FailureOffline // it was here and has left
	}
	return known.at, asked, nil
}

// lookup asks the database. While that does not answer, a route found earlier
// is as good as any.
func (k *Cluster) lookup(ctx context.Context, id ident.PeerID, old route) (route, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	found, err := k.store.LocatePeers(ctx, []ident.PeerID{id}, k.now())
	if err != nil && old.found {
		return old, nil
	}
	if err != nil {
		return route{}, err
	}
	at, ok := found[id]
	if ok && !k.isMember(hello{name: at.Instance, own: at.Epoch}) {
		list, err := k.store.Instances(ctx, k.now())
		if err != nil {
			return route{}, err
		}
		k.setMembers(list)
	}
	got := route{at: at, found: ok, when: k.now()}
	k.routes.put(id, got)
	return got, nil
}
