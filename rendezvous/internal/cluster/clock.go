package cluster

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// maxClockOffset is the difference between the clocks of this machine and of the
// store above which the operator is warned.
const maxClockOffset = 2 * time.Second

// storeClock returns the time of the store's clock, which orders the leases and
// the connections of all instances.
type storeClock struct {
	store LeaseStore
	local func() time.Time // the clock of this machine
	log   *slog.Logger

	offset atomic.Int64 // nanoseconds by which the store's clock is ahead of this machine's
	latest atomic.Int64 // the last result of monotonic, in Unix milliseconds
}

// read compares the two clocks. The answer of the store took some time, so the
// offset is known only up to half of that; it is changed only if the known one
// is outside of these bounds.
func (c *storeClock) read(ctx context.Context) error {
	began := c.local()
	stored, err := c.store.Clock(ctx)
	if err != nil {
		return err
	}
	half := c.local().Sub(began) / 2
	offset, known := stored.Sub(began.Add(half)), time.Duration(c.offset.Load())
	if (offset - known).Abs() <= half+time.Millisecond {
		return nil
	}
	c.offset.Store(int64(offset))
	if offset.Abs() > maxClockOffset && (offset-known).Abs() > maxClockOffset/2 {
		c.log.Warn("this machine's clock differs from the database's; synchronize both with NTP", "offset",
			offset.Round(time.Millisecond))
	}
	return nil
}

// now returns the current time of the store's clock.
func (c *storeClock) now() time.Time { return c.local().Add(time.Duration(c.offset.Load())) }

// monotonic returns the current time of the store's clock in milliseconds. It
// never returns an earlier time than before.
func (c *storeClock) monotonic() time.Time {
	now := c.now().Truncate(time.Millisecond)
	for {
		latest := c.latest.Load()
		if ms := now.UnixMilli(); ms <= latest {
			return time.UnixMilli(latest)
		} else if c.latest.CompareAndSwap(latest, ms) {
			return now
		}
	}
}
