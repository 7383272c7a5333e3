package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func store(t *testing.T) Store {
	t.Helper()
	db, err := sqlitestore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return Store{db.Blobs(), db.Locks()}
}

func storageOver(t *testing.T, s Store, key []byte, now func() time.Time) *storage {
	t.Helper()
	st, err := newStorage(t.Context(), s, key, now, new(logtest.Journal).Logger())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

var databaseKey = bytes.Repeat([]byte("k"), MinKey)

func TestStorageHoldsTreeOfValues(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": databaseKey} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := storageOver(t, store(t), key, time.Now)
			for _, k := range []string{"a/b/c", "a/b/d", "a/e", "f"} {
				if err := s.Store(ctx, k, []byte("value of "+k)); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := s.Load(ctx, "a/b/c"); err != nil || string(got) != "value of a/b/c" {
				t.Errorf("load: %q, %v", got, err)
			}
			for path, want := range map[string][2]string{
				"":    {"a f", "a/b/c a/b/d a/e f"},
				"a":   {"a/b a/e", "a/b/c a/b/d a/e"},
				"a/b": {"a/b/c a/b/d", "a/b/c a/b/d"},
			} {
				for i, recursive := range []bool{false, true} {
					got, err := s.List(ctx, path, recursive)
					if err != nil || strings.Join(got, " ") != want[i] {
						t.Errorf("list %q, recursive %v: %q, %v", path, recursive, got, err)
					}
				}
			}
			for key, terminal := range map[string]bool{"a/b/c": true, "a/b": false, "a": false} {
				info, err := s.Stat(ctx, key)
				if err != nil || info.IsTerminal != terminal || info.Modified.IsZero() || !s.Exists(ctx, key) {
					t.Errorf("stat %q: %+v, %v", key, info, err)
				}
			}
			if err := s.Delete(ctx, "a/b"); err != nil {
				t.Fatal(err)
			}
			for _, gone := range []string{"a/b/c", "a/b", "nothing"} {
				_, loaded := s.Load(ctx, gone)
				_, stat := s.Stat(ctx, gone)
				_, listed := s.List(ctx, gone, true)
				for _, err := range []error{loaded, stat, listed} {
					if !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s: %v", gone, err)
					}
				}
				if s.Exists(ctx, gone) || s.Delete(ctx, gone) != nil {
					t.Errorf("%s still exists, or cannot be removed twice", gone)
				}
			}
		})
	}
}

func TestValuesAreEncryptedWithDatabaseKey(t *testing.T) {
	ctx := t.Context()
	db := store(t)
	const secret = "-----BEGIN PRIVATE KEY-----"
	before := storageOver(t, db, nil, time.Now)
	if err := before.Store(ctx, "certificates/x.key", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	with := storageOver(t, db, databaseKey, time.Now) // encrypts the value above
	if err := with.Store(ctx, "acme/account.key", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"certificates/x.key", "acme/account.key"} {
		raw, err := db.Blobs.Blob(ctx, folder+key)
		if err != nil || bytes.Contains(raw.Value, []byte("PRIVATE")) {
			t.Errorf("%s is stored as %q, %v", key, raw.Value, err)
		}
		if got, err := with.Load(ctx, key); err != nil || string(got) != secret {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	// The name is authenticated: a value cannot be moved to another name.
	b, err := db.Blobs.Blob(ctx, folder+"acme/account.key")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := with.seal.open(folder+"another", b.Value); err == nil {
		t.Error("a value was read under another name")
	}
	for want, key := range map[string][]byte{
		"set --database-key": nil,
		"with another key":   bytes.Repeat([]byte("o"), MinKey),
		"too few":            []byte("short"),
	} {
		_, err := newStorage(ctx, db, key, time.Now, new(logtest.Journal).Logger())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestInstanceThatLostTheLockWritesNothing: an instance is paused until its lock
// expires. Meanwhile another instance takes the lock and stores a certificate.
func TestInstanceThatLostTheLockWritesNothing(t *testing.T) {
	ctx := t.Context()
	db, time := store(t), &clock{}
	const name, key = fencedLock + "rendezvous.test", fencedKeys + "x/rendezvous.test.crt"
	paused, other := storageOver(t, db, nil, time.now), storageOver(t, db, nil, time.now)
	if err := paused.Lock(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := paused.Store(ctx, key, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if ok, err := other.TryLock(ctx, name); ok || err != nil {
		t.Fatalf("two instances hold the lock: %v, %v", ok, err)
	}
	time.advance(lockTTL)
	if err := other.Lock(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := other.Store(ctx, key, []byte("second")); err != nil {
		t.Fatal(err)
	}
	if err := paused.Store(ctx, key, []byte("late")); !errors.Is(err, blobs.ErrFenced) {
		t.Errorf("the instance that lost the lock wrote: %v", err)
	}
	if err := paused.Store(ctx, "acme/elsewhere", []byte("x")); err != nil {
		t.Errorf("write of a value that does not need the lock: %v", err)
	}
	if got, err := other.Load(ctx, key); err != nil || string(got) != "second" {
		t.Errorf("stored is %q, %v", got, err)
	}
	for _, s := range []*storage{paused, other} {
		if err := s.Unlock(ctx, name); err != nil {
			t.Error(err)
		}
		s.wait()
	}
	if ok, err := paused.TryLock(ctx, name); !ok || err != nil {
		t.Errorf("take a released lock: %v, %v", ok, err)
	}
	if err := paused.Unlock(ctx, name); err != nil {
		t.Error(err)
	}
	if paused.Unlock(ctx, name) == nil {
		t.Error("Unlock of a lock that is not held succeeded")
	}
}

// broken is a store whose database does not answer.
type broken struct{}

func (broken) Blobs(context.Context, string) ([]blobs.Info, error) {
	return nil, fmt.Errorf("list: %w", registry.ErrUnavailable)
}

func (broken) Blob(context.Context, string) (blobs.Blob, error) {
	return blobs.Blob{}, fmt.Errorf("read: %w", registry.ErrUnavailable)
}

func (broken) DeleteBlobs(context.Context, string) error {
	return fmt.Errorf("remove: %w", registry.ErrUnavailable)
}

func (broken) PutBlob(context.Context, blobs.Blob, *blobs.Lock) error {
	return fmt.Errorf("write: %w", registry.ErrUnavailable)
}

// TestBrokenDatabaseIsReported: the server does not start with a broken database.
// If the database breaks later, the status reports it and the server tries again.
func TestBrokenDatabaseIsReported(t *testing.T) {
	c, log := newConfig(t)
	db := store(t)
	c.ACME = &ACME{
		Directory: "https://127.0.0.1:1/dir", HTTPS: address("127.0.0.1:1"),
		Store: Store{broken{}, db.Locks},
	}
	if _, err := New(t.Context(), c); err == nil || !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("at the start: %v", err)
	}
	c.ACME.Store = db
	keeper := open(t, c)
	keeper.source.(*authority).storage.store = broken{}
	run(t, keeper)
	waittest.Until(t, "the database is reported", func() bool {
		return strings.Contains(keeper.Status().Problem, "the database cannot be used")
	})
	if !strings.Contains(log.String(), "retry_in=10s") {
		t.Error("the log does not say when the next attempt is")
	}
	select {
	case <-keeper.Ready():
		t.Error("Ready says that there is a certificate")
	default:
	}
	if !keeper.Status().Expires.IsZero() || keeper.Pin() != nil {
		t.Errorf("status %+v, pin %v", keeper.Status(), keeper.Pin())
	}
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

func TestServerNamesMatchHostsAndAddresses(t *testing.T) {
	for _, c := range []struct {
		name, host string
		want       bool
	}{
		{"rendezvous.test", "rendezvous.test", true},
		{"Rendezvous.TEST", "rendezvous.test", true},
		{"other.test", "rendezvous.test", false},
		{"1.2.0.192.in-addr.arpa", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.1", false},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::1", true},
	} {
		if got := matches(c.name, c.host); got != c.want {
			t.Errorf("%s for %s: %v", c.name, c.host, got)
		}
	}
}

// FuzzOpen checks that open returns either what close got, or an error.
func FuzzOpen(f *testing.F) {
	with, err := newSeal(databaseKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("name", []byte{})
	f.Add("name", seal{}.close("name", []byte("plain")))
	f.Add("name", with.close("name", []byte("sealed")))
	f.Fuzz(func(t *testing.T, name string, kept []byte) {
		for _, s := range []seal{{}, with} {
			value, sealed, err := s.open(name, kept)
			if err == nil && !sealed && !bytes.Equal(seal{}.close(name, value), kept) {
				t.Errorf("%q was read as %q", kept, value)
			}
			again, _, err := s.open(name, s.close(name, kept))
			if err != nil || !slices.Equal(again, kept) {
				t.Errorf("%q came back as %q, %v", kept, again, err)
			}
		}
	})
}
