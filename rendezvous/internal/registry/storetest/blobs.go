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

func put(t *testing.T, s *database.Database, name, value string, under *blobs.Lock, at time.Time) error {
	t.Helper()
	return s.Blobs.PutBlob(t.Context(), blobs.Blob{Name: name, Value: []byte(value), Changed: at}, under)
}

func names(t *testing.T, s *database.Database, below string) string {
	t.Helper()
	all, err := s.Blobs.Blobs(t.Context(), below)
	must(t, "list", err)
	var list []string
	for _, b := range all {
		list = append(list, b.Name)
	}
	return strings.Join(list, " ")
}

func blobsArePaths(t *testing.T, s *database.Database) {
	ctx := t.Context()
	_, err := s.Blobs.Blob(ctx, "a/b")
	is(t, "none yet", err, blobs.ErrNotFound)
	for _, name := range []string{"a/b/c", "a", "ab/c", "a/b", "a/b_", "é%/x", "A"} {
		must(t, "put "+name, put(t, s, name, "value of "+name, nil, start))
	}
	must(t, "put again", put(t, s, "a/b", "\x00new\xff", nil, start.Add(time.Second)))
	must(t, "put nothing", s.Blobs.PutBlob(ctx, blobs.Blob{Name: "empty", Changed: start}, nil))
	got, err := s.Blobs.Blob(ctx, "a/b")
	must(t, "read", err)
	if string(got.Value) != "\x00new\xff" || !got.Changed.Equal(start.Add(time.Second)) {
		t.Errorf("got %+v", got)
	}
	empty, err := s.Blobs.Blob(ctx, "empty")
	must(t, "read", err)
	equal(t, "empty", len(empty.Value), 0)

	equal(t, "all", names(t, s, ""), "A a a/b a/b/c a/b_ ab/c empty é%/x")
	equal(t, "below a", names(t, s, "a"), "a a/b a/b/c a/b_")
	equal(t, "below a/b", names(t, s, "a/b"), "a/b a/b/c")
	equal(t, "below é%", names(t, s, "é%"), "é%/x")
	equal(t, "below _", names(t, s, "_"), "")
	infos, err := s.Blobs.Blobs(ctx, "a/b")
	must(t, "list", err)
	equal(t, "what is told", infos[0], blobs.Info{Name: "a/b", Size: 5, Changed: start.Add(time.Second)})

	must(t, "delete", s.Blobs.DeleteBlobs(ctx, "a/b"))
	must(t, "delete again", s.Blobs.DeleteBlobs(ctx, "a/b"))
	equal(t, "left", names(t, s, ""), "A a a/b_ ab/c empty é%/x")
}

func blobsAreBounded(t *testing.T, s *database.Database) {
	largest := blobs.Blob{Name: strings.Repeat("n", blobs.MaxName), Value: bytes.Repeat([]byte{7}, blobs.MaxValue), Changed: start}
	is(t, "the largest", s.Blobs.PutBlob(t.Context(), largest, nil), nil)
	got, err := s.Blobs.Blob(t.Context(), largest.Name)
	must(t, "read", err)
	if !slices.Equal(got.Value, largest.Value) {
		t.Error("it came back as something else")
	}
	for what, b := range map[string]blobs.Blob{
		"a long name":  {Name: largest.Name + "n", Changed: start},
		"no name":      {Value: []byte("x"), Changed: start},
		"a long value": {Name: "n", Value: append(largest.Value, 7), Changed: start},
	} {
		is(t, what, s.Blobs.PutBlob(t.Context(), b, nil), blobs.ErrSize)
	}
}

func locksAreFenced(t *testing.T, s *database.Database) {
	ctx := t.Context()
	later := func(d time.Duration) time.Time { return start.Add(d) }
	fence, err := s.Locks.TakeLock(ctx, "l", start, ttl)
	must(t, "take", err)
	first := blobs.Lock{Name: "l", Fence: fence}
	_, err = s.Locks.TakeLock(ctx, "l", later(ttl-time.Millisecond), ttl)
	is(t, "take what is held", err, blobs.ErrLocked)
	other, err := s.Locks.TakeLock(ctx, "other", start, ttl)
	must(t, "take another", err)
	if other == fence {
		t.Error("two locks have one fence")
	}
	must(t, "write under it", put(t, s, "v", "first", &first, start))
	must(t, "renew", s.Locks.RenewLock(ctx, first, later(ttl/2), ttl))
	_, err = s.Locks.TakeLock(ctx, "l", later(ttl), ttl)
	is(t, "take what was renewed", err, blobs.ErrLocked)

	// The holder is paused past its time, and another takes over.
	lapsed := later(ttl/2 + ttl)
	is(t, "write when it has lapsed", put(t, s, "v", "late", &first, lapsed), blobs.ErrFenced)
	is(t, "renew when it has lapsed", s.Locks.RenewLock(ctx, first, lapsed, ttl), blobs.ErrFenced)
	ok, failed := race(8, func(int) error {
		_, err := s.Locks.TakeLock(ctx, "l", lapsed, ttl)
		return err
	})
	equal(t, "took it over", ok, 1)
	for _, err := range failed {
		is(t, "too late to take it over", err, blobs.ErrLocked)
	}
	// By its own clock, which stands still, it still has the lock.
	is(t, "write with a stale fence", put(t, s, "v", "stale", &first, start), blobs.ErrFenced)
	is(t, "renew with a stale fence", s.Locks.RenewLock(ctx, first, start, ttl), blobs.ErrFenced)
	must(t, "release with a stale fence", s.Locks.ReleaseLock(ctx, first))
	_, err = s.Locks.TakeLock(ctx, "l", lapsed, ttl)
	is(t, "the lock of the second", err, blobs.ErrLocked)
	b, err := s.Blobs.Blob(ctx, "v")
	must(t, "read", err)
	equal(t, "what was written", string(b.Value), "first")

	second := blobs.Lock{Name: "other", Fence: other}
	must(t, "release", s.Locks.ReleaseLock(ctx, second))
	must(t, "release again", s.Locks.ReleaseLock(ctx, second))
	_, err = s.Locks.TakeLock(ctx, "other", start, ttl)
	is(t, "take what was released", err, nil)
	must(t, "sweep", s.Sweep(ctx, later(30*24*time.Hour)))
	is(t, "a lock long lapsed", s.Locks.RenewLock(ctx, first, start, ttl), blobs.ErrFenced)
	equal(t, "what was written stays", names(t, s, ""), "v")
}
