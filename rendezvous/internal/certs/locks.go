package certs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Times of locks. An instance that was killed keeps its locks for at most
// lockTTL; one that cannot reach the database loses them after that too.
const (
	lockTTL     = 30 * time.Second
	lockRenew   = 8 * time.Second
	lockAsk     = time.Second     // between two questions for a lock that another has
	lockRelease = 5 * time.Second // for the database, when it is given back
)

// lockPrefix is where they stand among the store's locks.
const lockPrefix = "certmagic/"

// locks are the locks of this instance, renewed while they are held.
type locks struct {
	store   registry.LockStore
	now     func() time.Time
	log     *slog.Logger
	running sync.WaitGroup

	// Guarded by mu.
	mu   sync.Mutex
	held map[string]*heldLock
}

// heldLock is a lock until it is given back, which it is also if it was lost.
type heldLock struct {
	lock registry.Lock
	stop context.CancelFunc
	done chan struct{}
}

// Lock waits for a lock.
func (l *locks) Lock(ctx context.Context, name string) error {
	ask := time.NewTicker(lockAsk)
	defer ask.Stop()
	for waited := false; ; waited = true {
		ok, err := l.TryLock(ctx, name)
		if ok || err != nil {
			return err
		}
		if !waited {
			l.log.Info("another instance is at it: waiting for it", "lock", name)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ask.C:
		}
	}
}

// TryLock takes a lock if nobody has it.
func (l *locks) TryLock(ctx context.Context, name string) (bool, error) {
	fence, err := l.store.TakeLock(ctx, lockPrefix+name, l.now(), lockTTL)
	if errors.Is(err, registry.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &heldLock{lock: registry.Lock{Name: lockPrefix + name, Fence: fence}, stop: stop, done: make(chan struct{})}
	l.mu.Lock()
	l.held[name] = h
	l.mu.Unlock()
	l.running.Go(func() {
		defer close(h.done)
		l.keep(keep, h)
	})
	return true, nil
}

// keep renews a lock until ctx ends or it is lost.
func (l *locks) keep(ctx context.Context, h *heldLock) {
	tick := time.NewTicker(lockRenew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.store.RenewLock(ctx, h.lock, l.now(), lockTTL)
		if errors.Is(err, registry.ErrFenced) {
			l.log.Warn("the lock is lost: what was to be written under it will not be", "lock", h.lock.Name)
			return
		}
		if err != nil && ctx.Err() == nil {
			l.log.Warn("cannot renew a lock", "lock", h.lock.Name, "reason", err)
		}
	}
}

// Unlock gives a lock back.
func (l *locks) Unlock(ctx context.Context, name string) error {
	l.mu.Lock()
	h := l.held[name]
	delete(l.held, name)
	l.mu.Unlock()
	if h == nil {
		return fmt.Errorf("lock %s is not held", name)
	}
	h.stop()
	<-h.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockRelease)
	defer cancel()
	return l.store.ReleaseLock(ctx, h.lock)
}

// holding returns the lock that is held of those whose names begin so, lost or
// not; nil if there is none.
func (l *locks) holding(prefix string) *registry.Lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, h := range l.held {
		if strings.HasPrefix(name, prefix) {
			return &h.lock
		}
	}
	return nil
}

// wait returns when no lock is held any more. Whoever holds one has seen the end
// of its context.
func (l *locks) wait() { l.running.Wait() }
