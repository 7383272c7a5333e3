// Package batch does together what many ask for at the same time: who comes
// while a run is under way waits for the next one, which does all of theirs at
// once. So a single question waits for nothing, and under load one transaction
// or round trip serves many.
package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Config is what a Batch needs.
type Config[Q, A any] struct {
	// Do answers questions, at least one and at most Most. It returns as many
	// answers, in their order. It is called from a goroutine of the batch, with a
	// context of its own: one who gives up does not fail the others.
	Do   func(ctx context.Context, all []Q) []Answer[A]
	Most int           // questions of one run
	Runs int           // at the same time
	Wait time.Duration // for one run
}

// Answer is what came of one question.
type Answer[A any] struct {
	Value A
	Err   error
}

// Batch gathers questions. Its methods may be called concurrently.
type Batch[Q, A any] struct {
	Config[Q, A] // static
	running      sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	waiting []*call[Q, A]
	runs    int
	closed  bool
}

// ErrClosed is the error of who asks too late.
var ErrClosed = errors.New("nothing is asked any more, the server is stopping")

type call[Q, A any] struct {
	ctx      context.Context // of who asks
	question Q
	answer   chan Answer[A] // holds one
}

// New makes a batch. It starts nothing.
func New[Q, A any](c Config[Q, A]) *Batch[Q, A] { return &Batch[Q, A]{Config: c} }

// Ask has a question answered, together with others. Where ctx ends it returns
// at once; what was not under way by then is not done.
func (b *Batch[Q, A]) Ask(ctx context.Context, question Q) (A, error) {
	c := &call[Q, A]{ctx, question, make(chan Answer[A], 1)}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		var none A
		return none, ErrClosed
	}
	b.waiting = append(b.waiting, c)
	if b.runs < b.Runs {
		b.runs++
		b.running.Go(b.run)
	}
	b.mu.Unlock()
	select {
	case a := <-c.answer:
		return a.Value, a.Err
	case <-ctx.Done():
		var none A
		return none, context.Cause(ctx)
	}
}

// run answers until nobody waits.
func (b *Batch[Q, A]) run() {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), b.Most)
		calls := b.waiting[:n:n]
		if b.waiting = b.waiting[n:]; len(b.waiting) == 0 {
			b.waiting = nil
		}
		if n == 0 {
			b.runs--
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		calls = slices.DeleteFunc(calls, func(c *call[Q, A]) bool { return c.ctx.Err() != nil })
		if len(calls) > 0 {
			b.serve(calls)
		}
	}
}

func (b *Batch[Q, A]) serve(calls []*call[Q, A]) {
	ctx, cancel := context.WithTimeout(context.Background(), b.Wait)
	defer cancel()
	all := make([]Q, len(calls))
	for i, c := range calls {
		all[i] = c.question
	}
	answers := b.Do(ctx, all)
	if len(answers) != len(all) {
		panic(fmt.Sprintf("batch: %d answers to %d questions", len(answers), len(all)))
	}
	for i, c := range calls {
		c.answer <- answers[i]
	}
}

// Close waits for what is under way, and refuses what comes then.
func (b *Batch[Q, A]) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.running.Wait()
}

// Failed answers all of n questions with an error.
func Failed[A any](n int, err error) []Answer[A] {
	answers := make([]Answer[A], n)
	for i := range answers {
		answers[i].Err = err
	}
	return answers
}
