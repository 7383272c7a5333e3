package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of cached consents.
const (
	maxConsents        = 1 << 16
	consentTTL         = 4 * time.Second        // within which a withdrawal at another instance is noticed
	staleConsentTTL    = 10 * time.Minute       // while the registry does not answer
	registryTimeout    = 500 * time.Millisecond // for the registry, if there is a stale consent
	registryRetryAfter = 2 * time.Second        // between two questions while the registry does not answer
)

// consents caches the routes that the registry allows, so that most messages need no question to the registry and pass
// while it is down. It does not cache refusals.
type consents struct {
	registry Registry
	now      func() time.Time
	lookups  sync.WaitGroup // questions whose answer nobody waits for

	// Guarded by mu.
	mu        sync.Mutex
	allowed   map[Route]time.Time // when the registry has allowed a route
	downSince time.Time           // when the registry last did not answer
}

func newConsents(r Registry, now func() time.Time) *consents {
	return &consents{registry: r, now: now, allowed: map[Route]time.Time{}}
}

// fresh reports whether the registry has allowed a route within consentTTL.
func (c *consents) fresh(r Route) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	when, known := c.allowed[r]
	return known && c.now().Sub(when) < consentTTL
}

// check returns nil if a route is allowed, and otherwise a signal.Failure. It may ask the registry. If the registry is
// slow, check relies on a stale consent.
func (c *consents) check(ctx context.Context, r Route) error {
	c.mu.Lock()
	when, known := c.allowed[r]
	down := c.now().Sub(c.downSince) < registryRetryAfter
	c.mu.Unlock()
	age := c.now().Sub(when)
	switch known = known && age < staleConsentTTL; {
	case known && (age < consentTTL || down):
		return nil
	case !known:
		err := c.ask(ctx, r)
		if errors.Is(err, errDown) {
			return signal.FailureUnavailable
		}
		return err
	}
	answer := make(chan error, 1)
	c.lookups.Go(func() { answer <- c.ask(context.WithoutCancel(ctx), r) })
	timeout := time.NewTimer(registryTimeout)
	defer timeout.Stop()
	select {
	case err := <-answer:
		if errors.Is(err, errDown) {
			return nil
		}
		return err
	case <-timeout.C:
		c.setDown()
		return nil
	}
}

var errDown = errors.New("the registry does not answer")

// ask asks the registry. It returns nil, signal.FailureNotAllowed or errDown.
func (c *consents) ask(ctx context.Context, r Route) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ok, err := c.registry.Allowed(ctx, r)
	if err != nil {
		c.setDown()
		return errDown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok {
		delete(c.allowed, r)
		return signal.FailureNotAllowed
	}
	if len(c.allowed) >= maxConsents {
		clear(c.allowed)
	}
	c.allowed[r] = c.now()
	return nil
}

// setDown records that the registry does not answer.
func (c *consents) setDown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.downSince = c.now()
}
