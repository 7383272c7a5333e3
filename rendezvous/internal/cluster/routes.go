package cluster

import (
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Bounds of cached routes.
const (
	maxRoutes       = 1 << 16
	routeTTL        = 30 * time.Second
	routeRefreshAge = 20 * time.Second // a route in use is looked up in the background from this age on
	offlineTTL      = 2 * time.Second  // of the result that a peer is offline
)

// route is the result of looking up a peer.
type route struct {
	instance string // where the peer is connected; "" if it is offline
	found    time.Time
}

// routes caches where peers are connected.
type routes struct {
	now func() time.Time

	mu     sync.Mutex // guards byPeer
	byPeer map[ident.PeerID]route
}

func newRoutes(now func() time.Time) *routes {
	return &routes{now: now, byPeer: map[ident.PeerID]route{}}
}

// get returns the cached route of a peer and its age. A peer without a route has
// the zero route, whose age exceeds any TTL.
func (r *routes) get(id ident.PeerID) (route, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cached := r.byPeer[id]
	return cached, r.now().Sub(cached.found)
}

// put caches where a peer is. If the cache is full, it is emptied first.
func (r *routes) put(id ident.PeerID, instance string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byPeer) >= maxRoutes {
		clear(r.byPeer)
	}
	r.byPeer[id] = route{instance, r.now()}
}
