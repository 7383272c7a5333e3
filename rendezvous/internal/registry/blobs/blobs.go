// Package blobs describes small values and locks that all instances share: the
// certificates, and which instance requests one.
package blobs

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// Errors of the stores.
var (
	ErrNotFound = &registry.Error{Text: "no such value"}
	ErrSize     = &registry.Error{Text: "a value or its name is too long, or it has no name"}
	ErrLocked   = &registry.Error{Text: "another process holds the lock"}
	ErrFenced   = &registry.Error{Text: "the lock is lost"}
)

// Store keeps values by name. Names are paths: "a/b" is below "a", "ab" is not.
type Store interface {
	// PutBlob replaces a value. With a lock, it does so only while that
	// lock has not lapsed at b.Changed. Errors: ErrFenced, ErrSize.
	PutBlob(ctx context.Context, b Blob, under *Lock) error
	// Blob returns a value. Errors: ErrNotFound.
	Blob(ctx context.Context, name string) (Blob, error)
	// Blobs lists the value of a name and those below it, ordered by name, at
	// most MaxList. The name "" lists all.
	Blobs(ctx context.Context, name string) ([]Info, error)
	// DeleteBlobs removes the value of a name and those below it, if any.
	DeleteBlobs(ctx context.Context, name string) error
}

// LockStore keeps locks. One process holds a lock at a time, and a lock lapses
// if its holder does not renew it.
type LockStore interface {
	// TakeLock takes a lock until now+ttl and returns its fence, a number that no
	// earlier holder had. Errors: ErrLocked while it is held.
	TakeLock(ctx context.Context, name string, now time.Time, ttl time.Duration) (fence int64, err error)
	// RenewLock extends a lock until now+ttl. Errors: ErrFenced if it has lapsed
	// or another process holds it.
	RenewLock(ctx context.Context, l Lock, now time.Time, ttl time.Duration) error
	// ReleaseLock releases a lock. It is not an error if the lock is not held.
	ReleaseLock(ctx context.Context, l Lock) error
}

// Bounds.
const (
	MaxValue = 256 << 10 // bytes of a value
	MaxName  = 512       // bytes of a name
	MaxList  = 10_000    // values in one list
)

// LockRetention is the time that a lapsed lock is kept. An instance whose clock
// runs ahead must not remove a lock that another instance still holds.
const LockRetention = time.Minute

// Blob is a value.
type Blob struct {
	Name    string
	Value   []byte
	Changed time.Time
}

// Info describes a value.
type Info struct {
	Name    string
	Size    int // bytes
	Changed time.Time
}

// Check returns ErrSize if the blob exceeds a bound.
func (b *Blob) Check() error {
	if b.Name == "" || len(b.Name) > MaxName || len(b.Value) > MaxValue {
		return ErrSize
	}
	return nil
}

// Lock is a holder's claim to a lock.
type Lock struct {
	Name  string
	Fence int64
}
