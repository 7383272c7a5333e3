//go:build unix

package cluster

import (
	"context"
	"testing"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

// postgres opens a fresh database of a throw-away cluster.
func postgres(t *testing.T) Store {
	t.Helper()
	server, err := pgtest.Start(context.Background())
	if err == nil {
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	store, err := pgstore.Open(t.Context(), pgtest.Fresh(t, server, err))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}
