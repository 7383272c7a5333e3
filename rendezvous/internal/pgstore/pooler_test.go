//go:build unix

package pgstore_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/storetest"
)

// TestContractThroughPooler runs the contract behind a pgbouncer that may give each
// transaction another connection: neither a statement nor the lock of the migrations
// may depend on the connection.
func TestContractThroughPooler(t *testing.T) {
	cluster := pgtest.Shared(t)
	p, err := cluster.Pooler(t.Context())
	if errors.Is(err, pgtest.ErrNoPooler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	fresh := func(t *testing.T) string {
		t.Helper()
		return p.URL(cluster.Database(t))
	}
	url := fresh(t)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			s, err := pgstore.Open(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	storetest.Run(t, func(t *testing.T) *database.Database { return database.Postgres(open(t, fresh(t))) })
}
