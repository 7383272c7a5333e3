package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of remembered consents.
const (
	maxConsents  = 1 << 16
	consentFresh = 4 * time.Second        // within which a withdrawal elsewhere is noticed
	consentStale = 10 * time.Minute       // while the registry cannot be asked
	consentWait  = 500 * time.Millisecond // for the registry, where there is a stale consent
	consentPause = 2 * time.Second        // between two questions while the registry does not answer
)

// pair is a peer and one whom it lets signal it.
type pair struct{ owner, other ident.PeerID }

// consents remembers who lets whom signal it, so that a message costs no
// question to the registry and goes through while it is down. Refusals are not
// remembered.
type consents struct {
	registry Registry
	now      func() time.Time
	asking   sync.WaitGroup // questions that nobody waits for any more

	// Guarded by mu.
	mu    sync.Mutex
	given map[pair]time.Time // when the registry said so
	away  time.Time          // when the registry last did not answer
}

func newConsents(r Registry, now func() time.Time) *consents {
	return &consents{registry: r, now: now, given: map[pair]time.Time{}}
}

// fresh reports whether owner is known to let other signal it.
func (c *consents) fresh(owner, other ident.PeerID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	when, known := c.given[pair{owner, other}]
	return known && c.now().Sub(when) < consentFresh
}

// check returns nil if owner lets other signal it, otherwise a signal.Failure.
// It may have to ask the registry. One that does not answer is not waited for
// where its last answer may still serve.
func (c *consents) check(ctx context.Context, owner, other ident.PeerID) error {
	c.mu.Lock()
	when, known := c.given[pair{owner, other}]
	paused := c.now().Sub(c.away) < consentPause
	c.mu.Unlock()
	age := c.now().Sub(when)
	switch known = known && age < consentStale; {
	case known && (age < consentFresh || paused):
		return nil
	case !known:
		err := c.ask(ctx, owner, other)
		if errors.Is(err, errAway) {
			return signal.FailureUnavailable
		}
		return err
	}
	answer := make(chan error, 1)
	c.asking.Go(func() { answer <- c.ask(context.WithoutCancel(ctx), owner, other) })
	patience := time.NewTimer(consentWait)
	defer patience.Stop()
	select {
	case err := <-answer:
		if errors.Is(err, errAway) {
			return nil
		}
		return err
	case <-patience.C:
		c.pause()
		return nil
	}
}

var errAway = errors.New("the registry does not answer")

// ask asks the registry. It returns nil, signal.FailureNotAllowed or errAway.
func (c *consents) ask(ctx context.Context, owner, other ident.PeerID) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ok, err := c.registry.Allowed(ctx, owner, other)
	if err != nil {
		c.pause()
		return errAway
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok {
		delete(c.given, pair{owner, other})
		return signal.FailureNotAllowed
	}
	if len(c.given) >= maxConsents {
		clear(c.given)
	}
	c.given[pair{owner, other}] = c.now()
	return nil
}

// pause notes that the registry does not answer.
func (c *consents) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = c.now()
}
