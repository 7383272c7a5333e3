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

// doubler doubles what it is asked, a second for each run.
type doubler struct {
	mu   sync.Mutex
	runs []int // their sizes
}

func (d *doubler) do(ctx context.Context, all []int) []batch.Answer[int] {
	d.mu.Lock()
	d.runs = append(d.runs, len(all))
	d.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return batch.Failed[int](len(all), ctx.Err())
	}
	answers := make([]batch.Answer[int], len(all))
	for i, n := range all {
		answers[i].Value = 2 * n
	}
	return answers
}

func TestWhoComesMeanwhileIsAnsweredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, Most: 4, Runs: 1, Wait: time.Minute})
		began := time.Now()
		var asking sync.WaitGroup
		for n := range 10 {
			asking.Go(func() {
				if got, err := b.Ask(t.Context(), n); got != 2*n || err != nil {
					t.Errorf("twice %d is %d, %v", n, got, err)
				}
			})
			synctest.Wait()
		}
		asking.Wait()
		b.Close()
		if _, err := b.Ask(t.Context(), 1); !errors.Is(err, batch.ErrClosed) {
			t.Errorf("asked after Close: %v", err)
		}
		if want := []int{1, 4, 4, 1}; len(d.runs) != 4 || [4]int(d.runs) != [4]int(want) {
			t.Errorf("runs of %v, want %v", d.runs, want)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestManyRunsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, Most: 1, Runs: 3, Wait: time.Minute})
		began := time.Now()
		var asking sync.WaitGroup
		for n := range 6 {
			asking.Go(func() { b.Ask(t.Context(), n) })
		}
		asking.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestOneWhoGivesUpFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, Most: 4, Runs: 1, Wait: time.Minute})
		gone, leave := context.WithCancelCause(t.Context())
		var asking sync.WaitGroup
		left := errors.New("left")
		asking.Go(func() {
			if _, err := b.Ask(gone, 1); !errors.Is(err, left) {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		asking.Go(func() {
			if _, err := b.Ask(gone, 3); !errors.Is(err, left) {
				t.Errorf("who left before its turn got %v", err)
			}
		})
		synctest.Wait()
		leave(left)
		if _, err := b.Ask(gone, 4); !errors.Is(err, left) {
			t.Errorf("who had left got %v", err)
		}
		asking.Go(func() {
			if got, err := b.Ask(t.Context(), 2); got != 4 || err != nil {
				t.Errorf("who stayed got %d, %v", got, err)
			}
		})
		asking.Wait()
		b.Close()
		if len(d.runs) != 2 || d.runs[1] != 1 {
			t.Errorf("runs of %v: somebody was served who had left", d.runs)
		}
	})
}

func TestARunThatTakesTooLongFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubler
		b := batch.New(batch.Config[int, int]{Do: d.do, Most: 4, Runs: 1, Wait: time.Millisecond})
		if _, err := b.Ask(t.Context(), 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		b.Close()
	})
}
