package certs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
)

// Times of locks. The locks of an instance that was killed, or that cannot reach
// the database, expire after at most lockTTL.
const (
	lockTTL           = 30 * time.Second
	lockRenewInterval = 8 * time.Second
	lockRetryInterval = time.Second     // between two attempts to take a lock that another instance holds
	releaseTimeout    = 5 * time.Second // for the database, when a lock is released
)

// lockPrefix begins the names of these locks in the store.
const lockPrefix = "certmagic/"

// locks holds the locks of this instance and renews them.
type locks struct {
	store   Locks
	now     func() time.Time
	log     *slog.Logger
	running sync.WaitGroup

	// Guarded by mu.
	mu   sync.Mutex
	held map[string]*heldLock
}

// heldLock is a lock that was taken and not yet released. It may be lost.
type heldLock struct {
	lock blobs.Lock
	stop context.CancelFunc
	done chan struct{}
}

// Lock takes a lock. It waits while another instance holds it.
func (l *locks) Lock(ctx context.Context, name string) error {
	retry := time.NewTicker(lockRetryInterval)
	defer retry.Stop()
	for waited := false; ; waited = true {
		ok, err := l.TryLock(ctx, name)
		if ok || err != nil {
			return err
		}
		if !waited {
			l.log.Info("waiting for another instance that requests the certificate", "lock", name)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-retry.C:
		}
	}
}

// TryLock takes a lock unless another instance holds it.
func (l *locks) TryLock(ctx context.Context, name string) (bool, error) {
	fence, err := l.store.TakeLock(ctx, lockPrefix+name, l.now(), lockTTL)
	if errors.Is(err, blobs.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &heldLock{lock: blobs.Lock{Name: lockPrefix + name, Fence: fence}, stop: stop, done: make(chan struct{})}
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
	tick := time.NewTicker(lockRenewInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.store.RenewLock(ctx, h.lock, l.now(), lockTTL)
		if errors.Is(err, blobs.ErrFenced) {
			l.log.Warn("lost a lock; nothing more is written under it", "lock", h.lock.Name)
			return
		}
		if err != nil && ctx.Err() == nil {
			l.log.Warn("cannot renew a lock", "lock", h.lock.Name, "err", err)
		}
	}
}

// Unlock releases a lock.
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return l.store.ReleaseLock(ctx, h.lock)
}

// holding returns a held lock whose name begins with prefix, even if it was lost,
// or nil.
func (l *locks) holding(prefix string) *blobs.Lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, h := range l.held {
		if strings.HasPrefix(name, prefix) {
			return &h.lock
		}
	}
	return nil
}

// wait returns when all renewals have ended. The contexts of their locks must have
// ended before.
func (l *locks) wait() { l.running.Wait() }
