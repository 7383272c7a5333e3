package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
)

// Store is the part of the database that all instances share.
type Store struct {
	Blobs Blobs
	Locks Locks
}

// Blobs keeps values; see blobs.Store.
type Blobs interface {
	PutBlob(ctx context.Context, b blobs.Blob, under *blobs.Lock) error
	Blob(ctx context.Context, name string) (blobs.Blob, error)
	Blobs(ctx context.Context, name string) ([]blobs.Info, error)
	DeleteBlobs(ctx context.Context, name string) error
}

// Locks keeps locks; see blobs.LockStore.
type Locks interface {
	TakeLock(ctx context.Context, name string, now time.Time, ttl time.Duration) (fence int64, err error)
	RenewLock(ctx context.Context, l blobs.Lock, now time.Time, ttl time.Duration) error
	ReleaseLock(ctx context.Context, l blobs.Lock) error
}

// folder begins the names of certmagic's values in the store.
const folder = "certmagic/"

// Writes of certmagic's certificates need the lock of their issue: an instance that
// has lost the lock must not overwrite the certificate of the instance that has it
// now.
const (
	fencedKeys = "certificates/"
	fencedLock = "issue_cert_"
)

var (
	_ certmagic.Storage   = (*storage)(nil)
	_ certmagic.TryLocker = (*storage)(nil)
)

// storage implements certmagic's storage on the store.
type storage struct {
	*locks
	store Blobs
	seal  seal
	now   func() time.Time
	down  atomic.Bool // the last access to the store failed
}

// newStorage returns a storage that can read all present values. If there is a
// key, it encrypts those that are not encrypted yet.
func newStorage(
	ctx context.Context, store Store, key []byte, now func() time.Time, log *slog.Logger,
) (*storage, error) {
	seal, err := newSeal(key)
	if err != nil {
		return nil, err
	}
	s := &storage{
		locks: &locks{store: store.Locks, now: now, log: log, held: map[string]*heldLock{}},
		store: store.Blobs, seal: seal, now: now,
	}
	all, err := store.Blobs.Blobs(ctx, strings.TrimSuffix(folder, "/"))
	if err != nil {
		return nil, fmt.Errorf("certificates in the database: %w", err)
	}
	for _, info := range all {
		if err := s.reseal(ctx, info.Name); err != nil && !errors.Is(err, blobs.ErrNotFound) {
			return nil, fmt.Errorf("certificates in the database: %w", err)
		}
	}
	return s, nil
}

func (s *storage) reseal(ctx context.Context, name string) error {
	b, err := s.store.Blob(ctx, name)
	if err != nil {
		return err
	}
	plain, sealed, err := s.seal.open(name, b.Value)
	if err != nil || sealed || !s.seal.keyed() {
		return err
	}
	b.Value = s.seal.close(name, plain)
	return s.store.PutBlob(ctx, b, nil)
}

// noted stores whether the store could be accessed: certmagic returns its errors
// as text, in which they cannot be recognized.
func (s *storage) noted(err error) error {
	s.down.Store(errors.Is(err, registry.ErrUnavailable))
	return err
}

// Lock takes a lock. It waits while another instance holds it.
func (s *storage) Lock(ctx context.Context, name string) error {
	return s.noted(s.locks.Lock(ctx, name))
}

// TryLock takes a lock unless another instance holds it.
func (s *storage) TryLock(ctx context.Context, name string) (bool, error) {
	ok, err := s.locks.TryLock(ctx, name)
	return ok, s.noted(err)
}

// Store stores a value.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	name := folder + key
	b := blobs.Blob{Name: name, Value: s.seal.close(name, value), Changed: s.now()}
	var under *blobs.Lock
	if strings.HasPrefix(key, fencedKeys) {
		under = s.holding(fencedLock)
	}
	return s.noted(s.store.PutBlob(ctx, b, under))
}

// Load returns a value, or fs.ErrNotExist.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	b, err := s.store.Blob(ctx, folder+key)
	if errors.Is(err, blobs.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	if s.noted(err) != nil {
		return nil, err
	}
	plain, _, err := s.seal.open(b.Name, b.Value)
	return plain, err
}

// Delete removes a value, or all values of a folder.
func (s *storage) Delete(ctx context.Context, key string) error {
	return s.noted(s.store.DeleteBlobs(ctx, folder+key))
}

// Exists reports whether there is a value or a folder.
func (s *storage) Exists(ctx context.Context, key string) bool {
	all, err := s.store.Blobs(ctx, folder+key)
	return s.noted(err) == nil && len(all) > 0
}

// List returns the keys below a folder: only the values and folders directly below
// it, or all values if recursive. It returns fs.ErrNotExist if nothing is there.
func (s *storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	path = strings.Trim(path, "/")
	all, err := s.store.Blobs(ctx, strings.TrimSuffix(folder+path, "/"))
	if s.noted(err) != nil {
		return nil, err
	}
	if path != "" {
		path += "/"
	}
	var keys []string
	for _, b := range all {
		below, ok := strings.CutPrefix(b.Name, folder+path)
		if !ok {
			continue // a value with the name of the folder
		}
		if child, _, _ := strings.Cut(below, "/"); !recursive {
			below = child
		}
		if key := path + below; len(keys) == 0 || keys[len(keys)-1] != key { // they are sorted
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return keys, nil
}

// Stat returns the size and time of a value or a folder, or fs.ErrNotExist.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	all, err := s.store.Blobs(ctx, folder+key)
	if s.noted(err) != nil {
		return certmagic.KeyInfo{}, err
	}
	if len(all) == 0 {
		return certmagic.KeyInfo{}, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	info := certmagic.KeyInfo{Key: key}
	for _, b := range all {
		if b.Changed.After(info.Modified) {
			info.Modified = b.Changed
		}
		if b.Name == folder+key {
			info.IsTerminal, info.Size = true, int64(b.Size)
		}
	}
	return info, nil
}
