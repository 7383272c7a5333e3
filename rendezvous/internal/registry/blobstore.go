package registry

import (
	"context"
	"time"
)

// BlobStore keeps small values that all instances share, by names that are
// paths: "a/b" is below "a", "ab" is not.
type BlobStore interface {
	// PutBlob keeps a value in place of the one before. Under a lock, it does so
	// only if that is held at b.Changed. Errors: ErrFenced, ErrBlobSize.
	PutBlob(ctx context.Context, b Blob, under *Lock) error
	// Blob returns a value. Errors: ErrBlobNotFound.
	Blob(ctx context.Context, name string) (Blob, error)
	// Blobs tells, without their values, of the value of a name and of those
	// below it, ordered by name; "" is above all. At most MaxBlobs.
	Blobs(ctx context.Context, name string) ([]BlobInfo, error)
	// DeleteBlobs removes the value of a name and those below it. None is fine.
	DeleteBlobs(ctx context.Context, name string) error
}

// LockStore keeps locks, each of which one process holds at a time, and which
// lapse with a process that is gone.
type LockStore interface {
	// TakeLock takes a lock until now+ttl and returns its fence, which none
	// before it had. Errors: ErrLocked while it is held.
	TakeLock(ctx context.Context, name string, now time.Time, ttl time.Duration) (fence int64, err error)
	// RenewLock prolongs a lock until now+ttl. Errors: ErrFenced if it has
	// lapsed or another process has it.
	RenewLock(ctx context.Context, l Lock, now time.Time, ttl time.Duration) error
	// ReleaseLock ends a lock. One that is not held is fine.
	ReleaseLock(ctx context.Context, l Lock) error
}

// Bounds of blobs.
const (
	MaxBlob     = 256 << 10 // bytes of a value
	MaxBlobName = 512       // bytes of a name
	MaxBlobs    = 10_000    // that are listed at a time
)

// Blob is a kept value.
type Blob struct {
	Name    string
	Value   []byte
	Changed time.Time
}

// BlobInfo tells of a value.
type BlobInfo struct {
	Name    string
	Size    int // bytes
	Changed time.Time
}

// Check refuses a blob that is out of bounds. Errors: ErrBlobSize.
func (b *Blob) Check() error {
	if b.Name == "" || len(b.Name) > MaxBlobName || len(b.Value) > MaxBlob {
		return ErrBlobSize
	}
	return nil
}

// Lock is a holder's claim to a lock.
type Lock struct {
	Name  string
	Fence int64
}
