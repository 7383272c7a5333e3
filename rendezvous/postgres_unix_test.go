//go:build unix

package rendezvous

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

func TestMain(m *testing.M) {
	// certmagic's limit of requests to an authority outlives what it limits.
	goleak.VerifyTestMain(pgtest.Main{M: m}, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

// postgres returns the URL of a fresh database of a throw-away cluster.
func postgres(t *testing.T) string {
	t.Helper()
	return pgtest.Shared(t).Fresh(t)
}
