//go:build linux

package fleet

import (
	"errors"
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

// expectUnavailable checks what an instance answers while its database is away.
func (f *fleet) expectUnavailable() {
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
		f.t.Errorf("all clients are to try again after the same time: %v seconds", waits)
	}
}

// rebuilt waits until the instances have written their peers to the database again.
func (f *fleet) rebuilt(c *pgtest.Cluster, s *swarm.Swarm, pairs []swarm.Pair, peers int) {
	f.t.Helper()
	at := time.Now()
	const present = `SELECT count(*) FROM presence p JOIN instances i USING (epoch) WHERE i.` + leased
	eventually(f.t, "every peer is written again", func() error {
		n, err := c.Value(f.t.Context(), "postgres", present)
		if err == nil && n != strconv.Itoa(peers) {
			err = fmt.Errorf("%s of %d", n, peers)
		}
		return err
	})
	f.t.Logf("%d peers are written again after %s", peers, time.Since(at).Round(time.Millisecond))
	if seen, err := s.Seen(f.t.Context(), pairs[0]); err != nil || !seen {
		f.t.Errorf("a peer is online: %v, %v", seen, err)
	}
	for _, i := range f.all {
		f.ready(i, http.StatusOK)
	}
}

// unharmed checks messages that were sent while the database was away: every message
// arrived, and no peer lost its connection.
func (f *fleet) unharmed(s *swarm.Swarm, m swarm.Messages) {
	f.t.Helper()
	if len(m.Confirmed) != m.Offered || m.Unwritten > 0 {
		f.t.Errorf("%d messages were sent, %d confirmed, failed: %v", m.Offered, len(m.Confirmed), m.Failed)
	}
	if s.Lost() > 0 {
		f.t.Errorf("%d connections were lost", s.Lost())
	}
}

// outlast waits until every instance has failed to renew its lease.
func (f *fleet) outlast() {
	f.t.Helper()
	for _, i := range f.all {
		eventually(f.t, "the instance cannot renew its lease", func() error {
			if !strings.Contains(i.Log(), "cannot renew the lease") {
				return errors.New("its log does not say so")
			}
			return nil
		})
	}
}

// TestDatabaseCrashes: first the whole database server crashes and is away for a
// while. Then one of its processes crashes, and the server is back at once. Both
// crashes empty the tables with the presence.
func TestDatabaseCrashes(t *testing.T) {
	t.Parallel()
	c := pgtest.Own(t)
	f := newFleet(t, c.URL("postgres"), 2, nil)
	peers, pairs := f.peers(f.swarm, 80)
	f.settled(f.swarm, pairs)

	messages := f.talk(f.swarm, pairs, 10*time.Second)
	if err := c.Crash(); err != nil {
		t.Fatal(err)
	}
	f.expectUnavailable()
	f.outlast()
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
	f.peers(f.newSwarm(), 4) // other peers can register and be found
}

// TestDatabaseHangs: the database neither answers nor refuses connections.
func TestDatabaseHangs(t *testing.T) {
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
	t.Cleanup(func() { resume() }) // SIGTERM does not end a stopped process
	f.outlast()
	res, body, err := f.get(f.all[0], api.PathPeers+"/self", "ef_"+strings.Repeat("A", 54))
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q: %s", res.Status, res.Header.Get("Retry-After"), body)
	}
	f.ready(f.all[1], http.StatusServiceUnavailable)
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	f.rebuilt(c, f.swarm, pairs, len(peers))
	f.unharmed(f.swarm, messages())
}

// TestDatabaseFailsOver: a standby takes over, whose tables with the presence are
// empty.
func TestDatabaseFailsOver(t *testing.T) {
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
	const current = `SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()`
	eventually(t, "the standby has replayed everything", func() error {
		n, err := primary.Value(t.Context(), "postgres", current)
		if err == nil && n != "1" {
			err = errors.New("the standby is behind")
		}
		return err
	})
	messages := f.talk(f.swarm, pairs, 10*time.Second)
	if err := primary.Crash(); err != nil {
		t.Fatal(err)
	}
	f.expectUnavailable()
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.rebuilt(standby, f.swarm, pairs, len(peers))
	f.unharmed(f.swarm, messages())
	f.peers(f.newSwarm(), 4) // other peers can register and be found
}
