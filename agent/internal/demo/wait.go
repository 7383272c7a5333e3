package demo

import (
	"context"
	"fmt"
	"time"
)

// patience is how long the demo waits for one thing.
const patience = 20 * time.Second

// await asks again and again whether something is so, while all processes run.
func (d *Demo) await(ctx context.Context, what string, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %v for %s", patience, what))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := so(ctx)
		if ok {
			return nil
		}
		if d.died() != nil {
			return fmt.Errorf("no use to wait for %s", what) // Run tells who has ended
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("%w: %w", context.Cause(ctx), err)
			}
			return context.Cause(ctx)
		}
	}
}
