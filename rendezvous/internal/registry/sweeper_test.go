package registry_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sweeps is a database that reports its sweeps.
type sweeps struct {
	at  chan time.Time
	err error
}

func (s sweeps) Sweep(_ context.Context, now time.Time) error {
	s.at <- now
	return s.err
}

func TestDatabaseIsSweptEveryMinute(t *testing.T) {
	for name, err := range map[string]error{"as usual": nil, "although sweeps fail": registry.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := sweeps{make(chan time.Time), err}
				s, err := registry.NewSweeper(db, nil, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- s.Run(ctx) }()
				first := <-db.at
				if second := <-db.at; second.Sub(first) != time.Minute {
					t.Errorf("swept again after %v", second.Sub(first))
				}
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("Run ended with %v", err)
				}
			})
		})
	}
}
