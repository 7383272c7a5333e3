package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPartsStopInReverseOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stopped []string // Run stops one part at a time
	part := func(name string) lifecycle.Part {
		return func(ctx context.Context) error {
			<-ctx.Done()
			stopped = append(stopped, name)
			return ctx.Err()
		}
	}
	last := func(ctx context.Context) error {
		cancel()
		return part("last")(ctx)
	}
	if err := lifecycle.Run(ctx, part("first"), part("second"), last); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if want := []string{"last", "second", "first"}; !slices.Equal(stopped, want) {
		t.Errorf("stopped %v, want %v", stopped, want)
	}
}

func TestFailedPartStopsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	wait := func(ctx context.Context) error { <-ctx.Done(); return nil }
	fail := func(context.Context) error { return broken }
	if err := lifecycle.Run(t.Context(), wait, fail, wait); !errors.Is(err, broken) {
		t.Errorf("Run = %v, want %v", err, broken)
	}
}
