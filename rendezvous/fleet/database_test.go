//go:build linux

package fleet

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
)

// away holds an instance to what it says while its database is away.
func (f *fleet) away() {
	f.t.Helper()
	if body := f.ready(f.all[0], http.StatusServiceUnavailable); !strings.Contains(body, "database: failed") {
		f.t.Errorf("/readyz: %s", body)
	}
	waits := map[string]bool{}
	for range 12 {
		res, body, err := f.get(f.all[0], api.PathPeers+"/self", "ef_"+strings.Repeat("A", 54))
		if err != nil {
			f.t.Fatal(err)
		}
		after, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if res.StatusCode != http.StatusServiceUnavailable || err != nil || after < 2 || after > 6 {
			f.t.Errorf("%s, Retry-After %q: %s", res.Status, res.Header.Get("Retry-After"), body)
		}
		waits[res.Header.Get("Retry-After")] = true
	}
	if len(waits) < 2 {
		f.t.Errorf("everybody is to come back after %v seconds", waits)
	}
}

// rebuilt waits until the database knows again who is connected.
func (f *fleet) rebuilt(c *pgtest.Cluster, s *swarm.Swarm, pairs []swarm.Pair, peers int) {
	f.t.Helper()
	at := time.Now()
	eventually(f.t, "everybody is written again", func() error {
		n, err := c.Value(f.t.Context(), "postgres", `SELECT count(*) FROM presence p JOIN instances i USING (epoch) WHERE i.lease_until > extract(epoch FROM clock_timestamp()) * 1000`)
		if err == nil && n != strconv.Itoa(peers) {
			err = fmt.Errorf("%s of %d", n, peers)
		}
		return err
	})
	f.t.Logf("%d peers are written again after %s", peers, time.Since(at).Round(time.Millisecond))
	if seen, err := s.Seen(f.t.Context(), pairs[0]); err != nil || !seen {
		f.t.Errorf("a peer is seen: %v, %v", seen, err)
	}
	for _, i := range f.all {
		f.ready(i, http.StatusOK)
	}
}

// unharmed holds a run of messages, during which the database was away, to this:
// every one arrived, and nobody lost a connection.
func (f *fleet) unharmed(s *swarm.Swarm, m swarm.Messages) {
	f.t.Helper()
	if len(m.Confirmed) != m.Offered || m.Unwritten > 0 {
		f.t.Errorf("of %d messages %d were confirmed, failed %v", m.Offered, len(m.Confirmed), m.Failed)
	}
	if s.Lost() > 0 {
		f.t.Errorf("%d connections were lost", s.Lost())
	}
}

// TestTheDatabaseCrashes twice: the whole server, which is away for a while, and
// one process of it, after which it is back before anybody asks. Either way its
// memory of who is connected is empty.
func TestTheDatabaseCrashes(t *testing.T) {
	t.Parallel()
	c := pgtest.Own(t)
	f := newFleet(t, c.URL("postgres"), 2, nil)
	peers, pairs := f.peers(f.swarm, 80)
	f.settled(f.swarm, pairs)

	messages := f.talk(f.swarm, pairs, 10*time.Second)
	if err := c.Crash(); err != nil {
		t.Fatal(err)
	}
	f.away()
	wait(t, 4*time.Second)
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.rebuilt(c, f.swarm, pairs, len(peers))
	f.unharmed(f.swarm, messages())

	messages = f.talk(f.swarm, pairs, 5*time.Second)
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	f.rebuilt(c, f.swarm, pairs, len(peers))
	f.unharmed(f.swarm, messages())
	f.peers(f.newSwarm(), 4) // others register and are found
}

// TestTheDatabaseHangs: it neither answers nor refuses, for longer than leases
// last.
func TestTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	c := pgtest.Own(t)
	f := newFleet(t, c.URL("postgres"), 2, nil)
	peers, pairs := f.peers(f.swarm, 80)
	f.settled(f.swarm, pairs)
	messages := f.talk(f.swarm, pairs, 15*time.Second)
	resume, err := c.Hang()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resume() }) // a stopped process does not end
	wait(t, time.Second)
	began := time.Now()
	res, body, err := f.get(f.all[0], api.PathPeers+"/self", "ef_"+strings.Repeat("A", 54))
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || took > 15*time.Second {
		t.Errorf("after %s: %s, Retry-After %q: %s", took, res.Status, res.Header.Get("Retry-After"), body)
	}
	f.ready(f.all[1], http.StatusServiceUnavailable)
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	f.rebuilt(c, f.swarm, pairs, len(peers))
	f.unharmed(f.swarm, messages())
}

// TestTheDatabaseFailsOver to its standby, which knows nobody that is connected.
func TestTheDatabaseFailsOver(t *testing.T) {
	t.Parallel()
	primary := pgtest.Own(t)
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	f := newFleet(t, primary.Both(standby, "postgres"), 2, nil)
	peers, pairs := f.peers(f.swarm, 80)
	f.settled(f.swarm, pairs)
	eventually(t, "the standby has it all", func() error {
		behind, err := primary.Value(t.Context(), "postgres", `SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()`)
		if err == nil && behind != "1" {
			err = fmt.Errorf("it is behind")
		}
		return err
	})
	messages := f.talk(f.swarm, pairs, 10*time.Second)
	if err := primary.Crash(); err != nil {
		t.Fatal(err)
	}
	f.away()
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.rebuilt(standby, f.swarm, pairs, len(peers))
	f.unharmed(f.swarm, messages())
	f.peers(f.newSwarm(), 4) // others register and are found
}
