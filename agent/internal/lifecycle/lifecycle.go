// Package lifecycle runs the parts of a program together.
package lifecycle

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Part runs until ctx ends or it fails. It returns nil if ctx has ended.
type Part func(ctx context.Context) error

// Run starts the parts in order. When ctx ends or a part fails, it stops the parts
// one after the other, the last one first, so that a part can still use those
// before it while it stops. It returns the errors of all parts.
func Run(ctx context.Context, parts ...Part) error {
	ctx, failed := context.WithCancel(ctx)
	defer failed()
	var stops []func()
	var mu sync.Mutex
	var errs []error
	for _, part := range parts {
		partCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := part(partCtx); err != nil && !errors.Is(err, context.Canceled) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				failed()
			}
		}()
		stops = append(stops, func() { cancel(); <-ended })
	}
	<-ctx.Done()
	for _, stop := range slices.Backward(stops) {
		stop()
	}
	return errors.Join(errs...)
}
