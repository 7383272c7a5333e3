package peers

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

const countInterval = time.Minute

// PeerCounter counts the registered peers of a store.
type PeerCounter interface {
	// CountPeers returns the number of registered peers.
	CountPeers(ctx context.Context) (int, error)
}

// Counter knows the number of registered peers: as counted in the last minute,
// and as changed by this instance since. Its methods may be called concurrently.
type Counter struct {
	store PeerCounter
	log   *slog.Logger

	registered atomic.Int64
	created    atomic.Int64 // by this instance since its start
}

// NewCounter returns a counter. It starts nothing.
func NewCounter(store PeerCounter, log *slog.Logger) (*Counter, error) {
	if store == nil || log == nil {
		return nil, errors.New("count of peers: a store and a logger are needed")
	}
	return &Counter{store: store, log: log}, nil
}

// Registered returns the number of registered peers.
func (c *Counter) Registered() int { return int(c.registered.Load()) }

// Created returns how many new peers this instance has registered since its
// start.
func (c *Counter) Created() int64 { return c.created.Load() }

func (c *Counter) added() {
	c.registered.Add(1)
	c.created.Add(1)
}

func (c *Counter) removed() { c.registered.Add(-1) }

// Run counts the peers once a minute until ctx ends.
func (c *Counter) Run(ctx context.Context) error {
	tick := time.NewTicker(countInterval)
	defer tick.Stop()
	for {
		n, err := c.store.CountPeers(ctx)
		switch {
		case err == nil:
			c.registered.Store(int64(n))
		case ctx.Err() == nil:
			c.log.Warn("cannot count the registered peers", "err", err, "retry_in", countInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
