//go:build unix

package cluster

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

// postgres opens a fresh database of a throw-away cluster.
func postgres(t *testing.T) Store {
	t.Helper()
	store, err := pgstore.Open(t.Context(), pgtest.Shared(t).Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}
