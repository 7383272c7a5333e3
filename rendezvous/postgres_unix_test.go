//go:build unix

package rendezvous

import (
	"context"
	"testing"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

// postgres returns the URL of a fresh database of a throw-away cluster.
func postgres(t *testing.T) string {
	t.Helper()
	server, err := pgtest.Start(context.Background())
	if err == nil {
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	return pgtest.Fresh(t, server, err)
}
