package registry

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const sweepInterval = time.Minute

// Sweepable is a database that removes expired rows.
type Sweepable interface {
	// Sweep removes everything whose retention has ended at now: used
	// challenges, mailboxes, invites, approvals, join requests, administrators'
	// tokens and links, old events, old figures, lapsed locks, lapsed leases and
	// the presence under them.
	Sweep(ctx context.Context, now time.Time) error
}

// Sweeper sweeps a database once a minute.
type Sweeper struct {
	store Sweepable
	now   func() time.Time
	log   *slog.Logger
}

// NewSweeper returns a sweeper. A nil now is time.Now.
func NewSweeper(store Sweepable, now func() time.Time, log *slog.Logger) (*Sweeper, error) {
	if store == nil || log == nil {
		return nil, errors.New("sweeper: a store and a logger are needed")
	}
	return &Sweeper{store: store, now: Clock(now), log: log}, nil
}

// Run sweeps until ctx ends. A failure is logged, and the next sweep tries again.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		if err := s.store.Sweep(ctx, s.now()); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot remove expired rows", "err", err, "retry_in", sweepInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
