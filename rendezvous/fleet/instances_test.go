//go:build linux

package fleet

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/processtest"
)

// TestKilledInstance: the peers of a killed instance connect to others. Peers that
// do not come back go offline, and no confirmed message is lost.
func TestKilledInstance(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	f := newFleet(t, url, 3, nil)
	peers, pairs := f.peers(f.swarm, 120)
	ghosts := f.newSwarm() // these peers do not come back
	lost, toGhosts := f.peers(ghosts, 12)
	f.talk(f.swarm, pairs, time.Second)()
	messages := f.talk(f.swarm, pairs, 9*time.Second)
	at := time.Now()
	f.all[1].Kill()
	ghosts.Close()
	for _, pair := range toGhosts {
		eventually(t, "a peer that has gone is offline", func() error {
			seen, err := f.swarm.Seen(t.Context(), pair)
			if err == nil && seen {
				err = fmt.Errorf("%s is seen after %s", pair.To.ID.Short(), time.Since(at))
			}
			return err
		})
	}
	t.Logf("%d peers that have gone are offline after %s", len(lost), time.Since(at).Round(time.Millisecond))
	back := f.swarm.Await(t.Context(), at, time.Second)
	t.Logf("%d peers lost their instance, back after %s (half) and %s (all)", back.Lost,
		back.Back.Quantile(0.5).Round(time.Millisecond), back.Back.Quantile(1).Round(time.Millisecond))
	if back.Lost == 0 || len(back.Back) != back.Lost {
		t.Errorf("%d of %d peers are back", len(back.Back), back.Lost)
	}
	connected(t, f.swarm, len(peers))
	messages()
	f.settled(f.swarm, pairs)
}

// leased is the condition that an instance has a lease now.
const leased = `lease_until > extract(epoch FROM clock_timestamp()) * 1000`

// TestPausedInstance: an instance is paused until its lease has expired. When it
// continues, it takes a new lease, keeps the peers that have waited for it, and does
// not take back those that have moved.
func TestPausedInstance(t *testing.T) {
	t.Parallel()
	name, url := database(t)
	f := newFleet(t, url, 3, nil)
	peers, pairs := f.peers(f.swarm, 90)
	f.settled(f.swarm, pairs)
	const leases = `SELECT string_agg(epoch::text, ' ' ORDER BY epoch) FROM instances WHERE ` + leased
	before := value(t, name, leases)
	if err := f.all[2].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := f.all[2].Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume) // SIGTERM does not end a paused process
	messages := f.talk(f.swarm, pairs, 6*time.Second)
	moved := peers[:len(peers)/2]
	f.swarm.Drop(moved)
	eventually(t, "the lease has expired", func() error {
		if now := value(t, name, leases); len(now) >= len(before) {
			return fmt.Errorf("leases %s, before %s", now, before)
		}
		return nil
	})
	messages()
	connected(t, f.swarm, len(peers))
	resume()
	eventually(t, "the instance has a new lease", func() error {
		if now := value(t, name, leases); len(now) < len(before) || now == before {
			return fmt.Errorf("leases %s, before %s", now, before)
		}
		return nil
	})
	f.settled(f.swarm, pairs)
	if at, want := f.swarm.Lost(), len(moved); at > want+tolerated {
		t.Errorf("%d connections were lost, %d were dropped", at, want)
	}
	connected(t, f.swarm, len(peers))
	const present = `SELECT count(*) FROM presence p JOIN instances i USING (epoch) WHERE i.` + leased
	eventually(t, "every peer is at an instance with a lease", func() error {
		if n := value(t, name, present); n != strconv.Itoa(len(peers)) {
			return fmt.Errorf("%s of %d", n, len(peers))
		}
		return nil
	})
}

// tolerated is the number of connections that may end because the balancer had not
// noticed the pause yet.
const tolerated = 45

// value returns the result of a query in a database.
func value(t *testing.T, database, query string) string {
	t.Helper()
	v, err := pgtest.Shared(t).Value(t.Context(), database, query)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestInstancesCutOffFromEachOther: two instances reach the database but not each
// other. A message to a peer of the other instance fails at once, messages within
// an instance arrive, and all arrive again when the connection is restored.
func TestInstancesCutOffFromEachOther(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	gates := []*gate{newGate(t), newGate(t)}
	f := newFleet(t, url, 2, func(i int) []string {
		return []string{"--cluster-listen", "127.0.0.1:0", "--cluster-address", gates[i].address()}
	})
	for i, g := range gates {
		g.lead(f.all[i].ClusterAddress())
	}
	s := f.direct()
	all := make([][]*swarm.Peer, 2)
	for host := range all {
		all[host], _, _ = s.Register(t.Context(), 20, 4, swarm.PerConnection)
		s.Bind(all[host], host)
		if err := s.Connect(t.Context(), all[host], 8); err != nil {
			t.Fatal(err)
		}
	}
	var across, within []swarm.Pair
	for i := range 10 {
		across = append(across,
			swarm.Pair{From: all[0][i], To: all[1][i]}, swarm.Pair{From: all[1][10+i], To: all[0][10+i]})
		within = append(within,
			swarm.Pair{From: all[0][10+i], To: all[0][i]}, swarm.Pair{From: all[1][i], To: all[1][10+i]})
	}
	for _, pairs := range [][]swarm.Pair{across, within} {
		if err := s.Allow(t.Context(), pairs, 4); err != nil {
			t.Fatal(err)
		}
	}
	f.settled(s, across)
	for _, g := range gates {
		g.close()
	}
	m := f.talk(s, across, 4*time.Second)()
	if len(m.Confirmed) > 0 {
		t.Errorf("%d messages arrived", len(m.Confirmed))
	}
	m = f.talk(s, across, 2*time.Second)()
	if len(m.Confirmed) > 0 || m.Slowest > fast {
		t.Errorf("after it was noticed: %d messages arrived, the slowest failure took %s", len(m.Confirmed), m.Slowest)
	}
	m = f.talk(s, within, 2*time.Second)()
	if len(m.Confirmed) < m.Offered || m.Slowest > fast {
		t.Errorf("within an instance: %d of %d messages arrived, the slowest took %s",
			len(m.Confirmed), m.Offered, m.Slowest)
	}
	for _, g := range gates {
		g.open()
	}
	f.settled(s, across)
	if s.Lost() > 0 {
		t.Errorf("%d peers lost their connection", s.Lost())
	}
}

// fast is less than the time after which a message without an answer fails.
const fast = 10 * time.Second

// direct returns a swarm that connects to the instances without the balancer.
func (f *fleet) direct() *swarm.Swarm {
	f.t.Helper()
	join, err := api.ParseJoinLink(f.all[0].Link)
	if err != nil {
		f.t.Fatal(err)
	}
	c := swarm.Config{Join: join, Sources: sources}
	for _, i := range f.all {
		c.Hosts = append(c.Hosts, i.Host)
	}
	s, err := swarm.New(c)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

// TestRestartsOneByOne restarts the instances as an upgrade does. Every peer moves
// to another instance before its connection ends, and no message fails.
func TestRestartsOneByOne(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	f := newFleet(t, url, 3, nil)
	peers, pairs := f.peers(f.swarm, 120)
	for n, i := range f.all {
		f.talk(f.swarm, pairs, time.Second)()
		messages := f.talk(f.swarm, pairs, 5*time.Second)
		moved := f.swarm.Moved()
		i.Stop()
		if moved = f.swarm.Moved() - moved; moved == 0 {
			t.Errorf("restart %d: no peer has moved", n)
		}
		i.Again()
		f.ready(i, http.StatusOK)
		m := messages()
		if failed := m.Offered - len(m.Confirmed); failed > 0 {
			t.Errorf("restart %d: %d of %d messages failed", n, failed, m.Offered)
		}
		t.Logf("restart %d: %d of %d peers have moved", n, moved, len(peers))
	}
	connected(t, f.swarm, len(peers))
	if lost := f.swarm.Lost(); lost > 0 {
		t.Errorf("%d connections were lost: %v", lost, f.swarm.Reasons())
	}
	f.settled(f.swarm, pairs)
}

// TestTenInstancesStartTogether starts instances on an empty database.
func TestTenInstancesStartTogether(t *testing.T) {
	t.Parallel()
	name, url := database(t)
	donor := processtest.Start(t, program) // its certificate is used by all
	f := &fleet{t: t, url: url, all: make([]*processtest.Instance, 10)}
	certificate := certificateOf(donor)
	var starting sync.WaitGroup
	for i := range f.all {
		starting.Go(func() { f.all[i] = f.start(i, certificate, nil) })
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	if n := value(t, name, `SELECT count(*) - count(DISTINCT version_id) FROM goose_db_version`); n != "0" {
		t.Errorf("%s migrations have run twice", n)
	}
	pinned, err := api.ParseJoinLink(donor.Link)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range f.all { // each has a join link with an invite of this rendezvous
		join, err := api.ParseJoinLink(i.Link)
		if err != nil {
			t.Fatal(err)
		}
		join.Pin = pinned.Pin
		s, err := swarm.New(swarm.Config{Join: join, Sources: sources})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		_, pairs := f.peers(s, 4)
		f.settled(s, pairs)
	}
	eventually(t, "all ten have a lease, and all peers are online", func() error {
		got := value(t, name, `SELECT (SELECT count(*) FROM instances) || ' ' ||
			(SELECT count(*) FROM presence JOIN instances USING (epoch))`)
		if got != "10 40" {
			return fmt.Errorf("instances and peers: %s", got)
		}
		return nil
	})
}

// TestIdleFleetWritesOnlyLeases: connected peers that do nothing cause no writes to
// the database. Each instance also writes its figures once a minute.
func TestIdleFleetWritesOnlyLeases(t *testing.T) {
	t.Parallel()
	name, url := database(t)
	const instances = 3
	const others = `SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables
		WHERE relname NOT IN ('instances', 'history')`
	const minutes = `SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'history'`
	const leases = `SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'instances'`
	f := newFleet(t, url, instances, nil)
	f.peers(f.swarm, 60)
	number := func(query string) int {
		n, err := strconv.Atoi(value(t, name, query))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// Each instance renews its lease once a second.
	renewals := func(n int) {
		t.Helper()
		before := number(leases)
		eventually(t, "the leases are renewed", func() error {
			if now := number(leases) - before; now < n {
				return fmt.Errorf("%d renewals, want %d", now, n)
			}
			return nil
		})
	}
	renewals(12 * instances) // Postgres counts the writes of an idle connection with a delay of 10 s
	rows, kept, renewed, began := number(others), number(minutes), number(leases), time.Now()
	renewals(8 * instances)
	wrote, kept := number(others)-rows, number(minutes)-kept
	rate := float64(number(leases)-renewed) / time.Since(began).Seconds()
	t.Logf("%d rows other than leases and %d of history, %.1f leases a second", wrote, kept, rate)
	if wrote > 0 || kept > instances { // at most one minute has ended
		t.Errorf("%d rows were written, and %d of history", wrote, kept)
	}
	if rate > instances*1.6 {
		t.Errorf("%d instances renewed %.1f leases a second", instances, rate)
	}
}
