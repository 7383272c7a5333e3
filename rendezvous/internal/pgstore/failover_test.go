//go:build unix

package pgstore_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// leased opens a database, takes a lease and connects a peer under it.
func leased(t *testing.T, url string) (*pgstore.DB, presence.Holder) {
	t.Helper()
	s := open(t, url)
	t.Cleanup(func() { s.Close() })
	epoch, err := s.Leases().TakeLease(t.Context(), presence.Instance{Name: "a"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h := presence.Holder{Instance: "a", Epoch: epoch}
	if _, err := s.Presence().PutPresence(t.Context(), h, time.Now(),
		[]presence.Connection{{Since: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	return s, h
}

// TestLeaseIsLostWithThePresence checks that a crash of one server process, which
// empties the unlogged tables, also ends the lease: its renewal fails.
func TestLeaseIsLostWithThePresence(t *testing.T) {
	c := pgtest.Own(t)
	s, h := leased(t, c.URL("postgres"))
	if err := s.Leases().RenewLease(t.Context(), h, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the server has recovered, and the lease is lost", func() bool {
		err := s.Leases().RenewLease(t.Context(), h, time.Now(), time.Hour)
		if err == nil {
			counts, err := s.Presence().CountPresence(t.Context())
			if err == nil && len(counts) == 0 {
				t.Fatal("the presence is lost, but not the lease")
			}
		}
		return errors.Is(err, presence.ErrFenced)
	})
}

// TestStandbyTakesOver checks that writes fail with ErrUnavailable after the primary
// has crashed, and that the DB uses the standby once it is promoted.
func TestStandbyTakesOver(t *testing.T) {
	primary := pgtest.Own(t)
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	}()
	_, err = pgstore.Open(t.Context(), standby.URL("postgres"))
	says(t, err, "use the primary's address")

	s, h := leased(t, standby.Both(primary, "postgres")) // the URL names the standby first
	if _, err := s.Secret(t.Context(), "name", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	const replicated = `DO $$ BEGIN FOR i IN 1..600 LOOP
		IF EXISTS (SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()) THEN RETURN; END IF;
		PERFORM pg_sleep(0.05); PERFORM pg_stat_clear_snapshot(); END LOOP; RAISE 'the standby does not follow'; END $$`
	if err := primary.Exec(t.Context(), "postgres", replicated); err != nil {
		t.Fatal(err)
	}
	if err := primary.Crash(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // existing connections, then new ones
		if _, err := s.Secret(t.Context(), "other", nil); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("while no server accepts writes: %v", err)
		}
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the standby is used", func() bool { return s.Ping(t.Context()) == nil })
	if got, err := s.Secret(t.Context(), "name", []byte("other")); err != nil || string(got) != "kept" {
		t.Errorf("after the fail-over: %q, %v", got, err)
	}
	if err := s.Leases().RenewLease(t.Context(), h, time.Now(), time.Hour); !errors.Is(err, presence.ErrFenced) {
		t.Errorf("the lease of the primary: %v", err)
	}
	epoch, err := s.Leases().TakeLease(t.Context(), presence.Instance{Name: "a"}, time.Now(), time.Hour)
	if err != nil || epoch <= h.Epoch {
		t.Errorf("epoch %d after %d, %v", epoch, h.Epoch, err)
	}
}

// TestReadOnlyServerIsLeft checks that existing connections are closed when their
// server becomes read-only, as in a managed database.
func TestReadOnlyServerIsLeft(t *testing.T) {
	c := pgtest.Own(t)
	s, h := leased(t, c.URL("postgres"))
	alter := func(value string) {
		t.Helper()
		for _, sql := range []string{
			"ALTER SYSTEM SET default_transaction_read_only = " + value,
			"SELECT pg_reload_conf()",
		} {
			if err := c.Exec(t.Context(), "postgres", sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	var all sync.WaitGroup
	for range 8 { // so that there are several connections
		all.Go(func() {
			if _, err := s.Peers().CountPeers(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	const ours = `FROM pg_stat_activity WHERE application_name = 'easyfind-rendezvous'`
	if err := c.Exec(t.Context(), "postgres", `CREATE TABLE before AS SELECT pid `+ours); err != nil {
		t.Fatal(err)
	}
	alter("on")
	waittest.Until(t, "writes are refused", func() bool {
		return errors.Is(s.Leases().RenewLease(t.Context(), h, time.Now(), time.Hour), registry.ErrUnavailable)
	})
	if err := s.Ping(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("ping: %v", err)
	}
	waittest.Until(t, "every earlier connection is closed", func() bool {
		return c.Exec(t.Context(), "postgres", `DO $$ BEGIN IF EXISTS (SELECT 1 `+ours+` AND pid IN (SELECT pid
			FROM before)) THEN RAISE 'there is one'; END IF; END $$`) == nil
	})
	alter("off")
	waittest.Until(t, "writes are accepted again", func() bool {
		return s.Leases().RenewLease(t.Context(), h, time.Now(), time.Hour) == nil
	})
}
