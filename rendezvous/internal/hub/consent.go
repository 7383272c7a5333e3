package hub

import (
	"context"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of remembered consents.
const (
	maxConsents  = 1 << 16
	consentFresh = 4 * time.Second  // within which a withdrawal elsewhere is noticed
	consentStale = 10 * time.Minute // while the registry cannot be asked
)

// pair is a peer and one whom it lets signal it.
type pair struct{ owner, other ident.PeerID }

// consents remembers who lets whom signal it, so that a message costs no
// question to the registry and goes through while it is down. Refusals are not
// remembered.
type consents struct {
	registry Registry
	now      func() time.Time

	// Guarded by mu.
	mu    sync.Mutex
	given map[pair]time.Time // when the registry said so
}

func newConsents(r Registry, now func() time.Time) *consents {
	return &consents{registry: r, now: now, given: map[pair]time.Time{}}
}

// check returns nil if owner lets other signal it, otherwise a signal.Failure.
func (c *consents) check(ctx context.Context, owner, other ident.PeerID) error {
	key := pair{owner, other}
	c.mu.Lock()
	when, known := c.given[key]
	c.mu.Unlock()
	age := c.now().Sub(when)
	if known && age < consentFresh {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ok, err := c.registry.Allowed(ctx, owner, other)
	switch {
	case err != nil && known && age < consentStale:
		return nil
	case err != nil:
		return signal.FailureUnavailable
	case !ok:
		c.forget(owner, other)
		return signal.FailureNotAllowed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.given) >= maxConsents {
		clear(c.given)
	}
	c.given[key] = c.now()
	return nil
}

func (c *consents) forget(owner, other ident.PeerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.given, pair{owner, other})
}
