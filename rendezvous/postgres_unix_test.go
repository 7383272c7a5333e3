//go:build unix

package rendezvous

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

func TestMain(m *testing.M) {
	// A rate limiter of certmagic keeps its goroutine after its client was stopped.
	const limiter = "github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"
	goleak.VerifyTestMain(pgtest.Main{M: m}, goleak.IgnoreAnyFunction(limiter))
}

// postgres returns the URL of an empty database of the shared Postgres server.
func postgres(t *testing.T) string {
	t.Helper()
	return pgtest.Shared(t).Fresh(t)
}
