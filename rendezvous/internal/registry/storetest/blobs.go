package storetest

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
)

// put keeps a value.
func put(t *testing.T, db *database.Database, name, value string, under *blobs.Lock, at time.Time) error {
	t.Helper()
	return db.Blobs.PutBlob(t.Context(), blobs.Blob{Name: name, Value: []byte(value), Changed: at}, under)
}

// names returns the names of the values below a name.
func names(t *testing.T, db *database.Database, below string) string {
	t.Helper()
	all, err := db.Blobs.Blobs(t.Context(), below)
	must(t, "list", err)
	var list []string
	for _, b := range all {
		list = append(list, b.Name)
	}
	return strings.Join(list, " ")
}

// blobNamesArePaths checks that values are listed and deleted by the paths of their names.
func blobNamesArePaths(t *testing.T, db *database.Database) {
	ctx := t.Context()
	_, err := db.Blobs.Blob(ctx, "a/b")
	is(t, "read an unknown value", err, blobs.ErrNotFound)
	for _, name := range []string{"a/b/c", "a", "ab/c", "a/b", "a/b_", "é%/x", "A"} {
		must(t, "put "+name, put(t, db, name, "value of "+name, nil, start))
	}
	must(t, "put again", put(t, db, "a/b", "\x00new\xff", nil, start.Add(time.Second)))
	must(t, "put an empty value", db.Blobs.PutBlob(ctx, blobs.Blob{Name: "empty", Changed: start}, nil))
	got, err := db.Blobs.Blob(ctx, "a/b")
	must(t, "read", err)
	if string(got.Value) != "\x00new\xff" || !got.Changed.Equal(start.Add(time.Second)) {
		t.Errorf("got %+v", got)
	}
	empty, err := db.Blobs.Blob(ctx, "empty")
	must(t, "read", err)
	equal(t, "empty", len(empty.Value), 0)

	equal(t, "all", names(t, db, ""), "A a a/b a/b/c a/b_ ab/c empty é%/x")
	equal(t, "below a", names(t, db, "a"), "a a/b a/b/c a/b_")
	equal(t, "below a/b", names(t, db, "a/b"), "a/b a/b/c")
	equal(t, "below é%", names(t, db, "é%"), "é%/x")
	equal(t, "below _", names(t, db, "_"), "")
	infos, err := db.Blobs.Blobs(ctx, "a/b")
	must(t, "list", err)
	equal(t, "description", infos[0], blobs.Info{Name: "a/b", Size: 5, Changed: start.Add(time.Second)})

	must(t, "delete", db.Blobs.DeleteBlobs(ctx, "a/b"))
	must(t, "delete again", db.Blobs.DeleteBlobs(ctx, "a/b"))
	equal(t, "remaining", names(t, db, ""), "A a a/b_ ab/c empty é%/x")
}

// blobsAreBounded checks the bounds on names and values.
func blobsAreBounded(t *testing.T, db *database.Database) {
	largest := blobs.Blob{
		Name: strings.Repeat("n", blobs.MaxName), Value: bytes.Repeat([]byte{7}, blobs.MaxValue),
		Changed: start,
	}
	is(t, "the largest", db.Blobs.PutBlob(t.Context(), largest, nil), nil)
	got, err := db.Blobs.Blob(t.Context(), largest.Name)
	must(t, "read", err)
	if !slices.Equal(got.Value, largest.Value) {
		t.Error("the value was changed")
	}
	for what, b := range map[string]blobs.Blob{
		"a long name":  {Name: largest.Name + "n", Changed: start},
		"no name":      {Value: []byte("x"), Changed: start},
		"a long value": {Name: "n", Value: append(largest.Value, 7), Changed: start},
	} {
		is(t, what, db.Blobs.PutBlob(t.Context(), b, nil), blobs.ErrSize)
	}
}

// lockIsFenced checks that one holder has a lock at a time, and that a holder that was
// paused past its time can neither renew the lock nor write under it.
func lockIsFenced(t *testing.T, db *database.Database) {
	ctx := t.Context()
	later := func(d time.Duration) time.Time { return start.Add(d) }
	fence, err := db.Locks.TakeLock(ctx, "l", start, ttl)
	must(t, "take", err)
	first := blobs.Lock{Name: "l", Fence: fence}
	_, err = db.Locks.TakeLock(ctx, "l", later(ttl-time.Millisecond), ttl)
	is(t, "take a held lock", err, blobs.ErrLocked)
	other, err := db.Locks.TakeLock(ctx, "other", start, ttl)
	must(t, "take another lock", err)
	if other == fence {
		t.Error("two locks have the same fence")
	}
	must(t, "write under the lock", put(t, db, "v", "first", &first, start))
	must(t, "renew", db.Locks.RenewLock(ctx, first, later(ttl/2), ttl))
	_, err = db.Locks.TakeLock(ctx, "l", later(ttl), ttl)
	is(t, "take a renewed lock", err, blobs.ErrLocked)

	// The holder is paused until the lock has lapsed, and another process takes it.
	lapsed := later(ttl/2 + ttl)
	is(t, "write after the lock lapsed", put(t, db, "v", "late", &first, lapsed), blobs.ErrFenced)
	is(t, "renew after the lock lapsed", db.Locks.RenewLock(ctx, first, lapsed, ttl), blobs.ErrFenced)
	ok, failed := race(8, func(int) error {
		_, err := db.Locks.TakeLock(ctx, "l", lapsed, ttl)
		return err
	})
	equal(t, "processes that took the lapsed lock", ok, 1)
	for _, err := range failed {
		is(t, "another process", err, blobs.ErrLocked)
	}
	// By the time that the paused holder has read, the lock has not lapsed.
	is(t, "write with a stale fence", put(t, db, "v", "stale", &first, start), blobs.ErrFenced)
	is(t, "renew with a stale fence", db.Locks.RenewLock(ctx, first, start, ttl), blobs.ErrFenced)
	must(t, "release with a stale fence", db.Locks.ReleaseLock(ctx, first))
	_, err = db.Locks.TakeLock(ctx, "l", lapsed, ttl)
	is(t, "take the lock of the second holder", err, blobs.ErrLocked)
	b, err := db.Blobs.Blob(ctx, "v")
	must(t, "read", err)
	equal(t, "the value", string(b.Value), "first")

	second := blobs.Lock{Name: "other", Fence: other}
	must(t, "release", db.Locks.ReleaseLock(ctx, second))
	must(t, "release again", db.Locks.ReleaseLock(ctx, second))
	_, err = db.Locks.TakeLock(ctx, "other", start, ttl)
	is(t, "take a released lock", err, nil)
	must(t, "sweep", db.Sweep(ctx, later(30*24*time.Hour)))
	is(t, "renew a lock that lapsed long ago", db.Locks.RenewLock(ctx, first, start, ttl), blobs.ErrFenced)
	equal(t, "values after the sweep", names(t, db, ""), "v")
}
