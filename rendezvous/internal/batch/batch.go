// Package batch coalesces concurrent calls: calls that arrive while a batch runs
// are executed together in the next batch. A single call does not wait, and under
// load one transaction or round trip serves many callers.
package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Config configures a Batch.
type Config[Q, R any] struct {
	// Do executes the calls with the arguments all, at least one and at most
	// MaxCalls, and returns their results in the same order. It runs on a
	// goroutine of the Batch and with a context of its own: a caller that gives
	// up does not fail the others.
	Do       func(ctx context.Context, all []Q) []Result[R]
	MaxCalls int           // of one run
	MaxRuns  int           // at the same time
	Timeout  time.Duration // of one run
}

// Result is the result of one call.
type Result[R any] struct {
	Value R
	Err   error
}

// Batch collects and executes calls. Its methods may be called concurrently.
type Batch[Q, R any] struct {
	Config[Q, R] // static after New
	running      sync.WaitGroup

	// Guarded by mu.
	mu     sync.Mutex
	queue  []*call[Q, R]
	runs   int // that are running
	closed bool
}

// ErrClosed is the error of a call after Close.
var ErrClosed = errors.New("no new calls are taken, the server is stopping")

type call[Q, R any] struct {
	ctx    context.Context // of the caller
	arg    Q
	result chan Result[R] // has room for one
}

// New returns a Batch. It starts nothing.
func New[Q, R any](c Config[Q, R]) *Batch[Q, R] { return &Batch[Q, R]{Config: c} }

// Call executes a call together with others. If ctx ends, Call returns at once;
// the call is not executed if its run has not begun.
func (b *Batch[Q, R]) Call(ctx context.Context, arg Q) (R, error) {
	c := &call[Q, R]{ctx, arg, make(chan Result[R], 1)}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		var none R
		return none, ErrClosed
	}
	b.queue = append(b.queue, c)
	if b.runs < b.MaxRuns {
		b.runs++
		b.running.Go(b.run)
	}
	b.mu.Unlock()
	select {
	case r := <-c.result:
		return r.Value, r.Err
	case <-ctx.Done():
		var none R
		return none, context.Cause(ctx)
	}
}

// run executes calls until the queue is empty.
func (b *Batch[Q, R]) run() {
	for {
		b.mu.Lock()
		n := min(len(b.queue), b.MaxCalls)
		calls := b.queue[:n:n]
		if b.queue = b.queue[n:]; len(b.queue) == 0 {
			b.queue = nil
		}
		if n == 0 {
			b.runs--
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		calls = slices.DeleteFunc(calls, func(c *call[Q, R]) bool { return c.ctx.Err() != nil })
		if len(calls) > 0 {
			b.execute(calls)
		}
	}
}

func (b *Batch[Q, R]) execute(calls []*call[Q, R]) {
	ctx, cancel := context.WithTimeout(context.Background(), b.Timeout)
	defer cancel()
	all := make([]Q, len(calls))
	for i, c := range calls {
		all[i] = c.arg
	}
	results := b.Do(ctx, all)
	if len(results) != len(all) {
		panic(fmt.Sprintf("batch: %d results of %d calls", len(results), len(all)))
	}
	for i, c := range calls {
		c.result <- results[i]
	}
}

// Close refuses new calls and waits for the running ones.
func (b *Batch[Q, R]) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.running.Wait()
}

// Failed returns n results with the same error.
func Failed[R any](n int, err error) []Result[R] {
	results := make([]Result[R], n)
	for i := range results {
		results[i].Err = err
	}
	return results
}
