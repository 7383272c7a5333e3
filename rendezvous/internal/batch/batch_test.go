package batch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// doubler doubles its arguments. Each run takes a second.
type doubler struct {
	mu   sync.Mutex
	runs []int // their sizes
}

func (d *doubler) do(ctx context.Context, all []int) []batch.Result[int] {
	d.mu.Lock()
	d.runs = append(d.runs, len(all))
	d.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return batch.Failed[int](len(all), ctx.Err())
	}
	results := make([]batch.Result[int], len(all))
	for i, n := range all {
		results[i].Value = 2 * n
	}
	return results
}

func TestConcurrentCallsShareRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, MaxCalls: 4, MaxRuns: 1, Timeout: time.Minute})
		began := time.Now()
		var calls sync.WaitGroup
		for n := range 10 {
			calls.Go(func() {
				if got, err := b.Call(t.Context(), n); got != 2*n || err != nil {
					t.Errorf("twice %d is %d, %v", n, got, err)
				}
			})
			synctest.Wait()
		}
		calls.Wait()
		b.Close()
		if _, err := b.Call(t.Context(), 1); !errors.Is(err, batch.ErrClosed) {
			t.Errorf("a call after Close: %v", err)
		}
		if want := []int{1, 4, 4, 1}; len(d.runs) != 4 || [4]int(d.runs) != [4]int(want) {
			t.Errorf("runs of %v, want %v", d.runs, want)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestSeveralRunsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, MaxCalls: 1, MaxRuns: 3, Timeout: time.Minute})
		began := time.Now()
		var calls sync.WaitGroup
		for n := range 6 {
			calls.Go(func() { b.Call(t.Context(), n) })
		}
		calls.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestCancelledCallFailsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, MaxCalls: 4, MaxRuns: 1, Timeout: time.Minute})
		cancelled, cancel := context.WithCancelCause(t.Context())
		var calls sync.WaitGroup
		cause := errors.New("cancelled")
		calls.Go(func() {
			if _, err := b.Call(cancelled, 1); !errors.Is(err, cause) {
				t.Errorf("a call that was cancelled during its run: %v", err)
			}
		})
		synctest.Wait()
		calls.Go(func() {
			if _, err := b.Call(cancelled, 3); !errors.Is(err, cause) {
				t.Errorf("a call that was cancelled before its run: %v", err)
			}
		})
		synctest.Wait()
		cancel(cause)
		if _, err := b.Call(cancelled, 4); !errors.Is(err, cause) {
			t.Errorf("a call with a cancelled context: %v", err)
		}
		calls.Go(func() {
			if got, err := b.Call(t.Context(), 2); got != 4 || err != nil {
				t.Errorf("another call got %d, %v", got, err)
			}
		})
		calls.Wait()
		b.Close()
		if len(d.runs) != 2 || d.runs[1] != 1 {
			t.Errorf("runs of %v: a cancelled call was executed", d.runs)
		}
	})
}

func TestSlowRunFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, MaxCalls: 4, MaxRuns: 1, Timeout: time.Millisecond})
		if _, err := b.Call(t.Context(), 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		b.Close()
	})
}
