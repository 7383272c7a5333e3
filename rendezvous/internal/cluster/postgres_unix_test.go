//go:build unix

package cluster

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

// newPostgres returns an empty database of the shared test server.
func newPostgres(t *testing.T) testStore {
	t.Helper()
	store, err := pgstore.Open(t.Context(), pgtest.Shared(t).Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return testStore{
		LeaseStore: store.Leases(), PresenceStore: store.Presence(), ReportStore: store.Links(),
		links: store.Links(),
	}
}
