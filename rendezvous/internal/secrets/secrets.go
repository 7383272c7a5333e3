// Package secrets provides the secrets that all instances share through the database.
package secrets

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// The secrets, by name.
const (
	Relay   = "relay"
	Tickets = "session tickets"
	cluster = "cluster"
)

const size = 32 // bytes

// Get returns a secret. The first instance that needs it creates it.
func Get(ctx context.Context, store registry.SecretStore, name string) ([]byte, error) {
	fresh := make([]byte, size)
	rand.Read(fresh) // never fails: crypto/rand aborts the program instead
	value, err := store.Secret(ctx, name, fresh)
	if err != nil {
		return nil, fmt.Errorf("secret of the %s: %w", name, err)
	}
	return value, nil
}

// ClusterKey returns the key with which instances authenticate each other.
func ClusterKey(ctx context.Context, store registry.SecretStore) (ident.Key, error) {
	seed, err := Get(ctx, store, cluster)
	if err != nil {
		return ident.Key{}, err
	}
	key, err := ident.KeyFromSeed(seed)
	if err != nil {
		return ident.Key{}, fmt.Errorf("key of the cluster: %w", err)
	}
	return key, nil
}
