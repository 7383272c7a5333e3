//go:build linux

package fleet

import (
	"fmt"
	"net/http"
	"path/filepath"
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

const lease = 5 * time.Second

// TestAnInstanceIsKilled: its peers are elsewhere soon, the others forget who
// does not come back, and nothing that was called sent is lost.
func TestAnInstanceIsKilled(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	f := newFleet(t, url, 3, nil)
	peers, pairs := f.peers(f.swarm, 120)
	ghosts := f.newSwarm() // they go with the instance and do not come back
	lost, haunted := f.peers(ghosts, 12)
	messages := f.talk(f.swarm, pairs, 10*time.Second)
	wait(t, 3*time.Second)
	at := time.Now()
	f.all[1].Kill()
	ghosts.Close()
	for _, pair := range haunted {
		eventually(t, "a peer that is gone is not seen any more", func() error {
			seen, err := f.swarm.Seen(t.Context(), pair)
			if err == nil && seen {
				err = fmt.Errorf("%s is seen after %s", pair.To.ID.Short(), time.Since(at))
			}
			return err
		})
	}
	took := time.Since(at)
	t.Logf("of %d peers that are gone none is seen after %s", len(lost), took.Round(time.Millisecond))
	if took > lease+busy {
		t.Errorf("that is longer than a lease lasts")
	}
	back := f.swarm.Await(t.Context(), at, time.Second)
	t.Logf("%d peers lost their instance, back after %s (half) and %s (all)", back.Lost, back.Back.Quantile(0.5).Round(time.Millisecond), back.Back.Quantile(1).Round(time.Millisecond))
	if back.Lost == 0 || len(back.Back) != back.Lost {
		t.Errorf("%d of %d are back", len(back.Back), back.Lost)
	}
	connected(t, f.swarm, len(peers))
	messages()
	f.settled(f.swarm, pairs)
}

// busy is what a machine that does much else may take longer.
const busy = 10 * time.Second

// TestAnInstanceIsPaused: an instance that is stopped for longer than its lease
// lasts finds another one when it wakes, keeps the peers that have waited for
// it, and does not take back those that have moved.
func TestAnInstanceIsPaused(t *testing.T) {
	t.Parallel()
	name, url := database(t)
	f := newFleet(t, url, 3, nil)
	peers, pairs := f.peers(f.swarm, 90)
	f.settled(f.swarm, pairs)
	const leases = `SELECT string_agg(epoch::text, ' ' ORDER BY epoch) FROM instances WHERE lease_until > extract(epoch FROM clock_timestamp()) * 1000`
	before := value(t, name, leases)
	if err := f.all[2].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := f.all[2].Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume) // a stopped process does not end
	messages := f.talk(f.swarm, pairs, 6*time.Second)
	moved := peers[:len(peers)/2]
	f.swarm.Drop(moved)
	eventually(t, "the lease is over", func() error {
		if now := value(t, name, leases); len(now) >= len(before) {
			return fmt.Errorf("leases %s, before %s", now, before)
		}
		return nil
	})
	messages()
	connected(t, f.swarm, len(peers))
	resume()
	eventually(t, "the instance has another lease", func() error {
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
	const everybody = `SELECT count(*) FROM presence p JOIN instances i USING (epoch) WHERE i.lease_until > extract(epoch FROM clock_timestamp()) * 1000`
	eventually(t, "everybody is where a lease is", func() error {
		if n := value(t, name, everybody); n != strconv.Itoa(len(peers)) {
			return fmt.Errorf("%s of %d", n, len(peers))
		}
		return nil
	})
}

// tolerated connections may end because the balancer had not noticed yet.
const tolerated = 45

func value(t *testing.T, database, query string) string {
	t.Helper()
	v, err := pgtest.Shared(t).Value(t.Context(), database, query)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTwoInstancesAreParted: nothing passes between two instances that both
// reach the database. Who sends to a peer of the other one hears at once that it
// does not go, the others notice nothing, and it goes again once it can.
func TestTwoInstancesAreParted(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	gates := []*gate{newGate(t), newGate(t)}
	f := newFleet(t, url, 2, func(i int) []string {
		return []string{"--cluster-listen", gates[i].target, "--cluster-address", gates[i].listener.Addr().String()}
	})
	s := f.direct()
	all := make([][]*swarm.Peer, 2)
	for host := range all {
		all[host], _, _ = s.Register(t.Context(), 20, 4, swarm.PerConnection)
		s.Bind(all[host], host)
		if err := s.Connect(t.Context(), all[host], 8); err != nil {
			t.Fatal(err)
		}
	}
	var across, beside []swarm.Pair
	for i := range 10 {
		across = append(across, swarm.Pair{From: all[0][i], To: all[1][i]}, swarm.Pair{From: all[1][10+i], To: all[0][10+i]})
		beside = append(beside, swarm.Pair{From: all[0][10+i], To: all[0][i]}, swarm.Pair{From: all[1][i], To: all[1][10+i]})
	}
	for _, pairs := range [][]swarm.Pair{across, beside} {
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
		t.Errorf("%d messages passed", len(m.Confirmed))
	}
	m = f.talk(s, across, 2*time.Second)()
	if len(m.Confirmed) > 0 || m.Slowest > fast {
		t.Errorf("once it is known: %d passed, the slowest answer took %s", len(m.Confirmed), m.Slowest)
	}
	m = f.talk(s, beside, 2*time.Second)()
	if len(m.Confirmed) < m.Offered || m.Slowest > fast {
		t.Errorf("between peers of one instance %d of %d passed, the slowest took %s", len(m.Confirmed), m.Offered, m.Slowest)
	}
	for _, g := range gates {
		g.open()
	}
	f.settled(s, across)
	if s.Lost() > 0 {
		t.Errorf("%d peers lost their connection", s.Lost())
	}
}

const fast = 2 * time.Second

// direct makes a swarm that connects to the instances themselves.
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

// TestInstancesAreRestartedOneByOne as an upgrade does: every peer moves to
// another instance before its connection ends, and no message fails.
func TestInstancesAreRestartedOneByOne(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	f := newFleet(t, url, 3, nil)
	peers, pairs := f.peers(f.swarm, 120)
	for n, i := range f.all {
		messages := f.talk(f.swarm, pairs, 6*time.Second)
		wait(t, time.Second)
		moved := f.swarm.Moved()
		i.Stop()
		if moved = f.swarm.Moved() - moved; moved == 0 {
			t.Errorf("restart %d: nobody has moved", n)
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

// TestTenInstancesStartTogether on an empty database.
func TestTenInstancesStartTogether(t *testing.T) {
	t.Parallel()
	name, url := database(t)
	donor := processtest.Start(t, program) // of the certificate
	f := &fleet{t: t, url: url, all: make([]*processtest.Instance, 10)}
	certificate := []string{"--tls-cert", filepath.Join(donor.Data, "tls-cert.pem"), "--tls-key", filepath.Join(donor.Data, "tls-key.pem")}
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
	for _, i := range f.all { // one that begins so, with an invite of this rendezvous
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
	eventually(t, "all ten have a lease, and all peers are seen", func() error {
		got := value(t, name, `SELECT (SELECT count(*) FROM instances) || ' ' || (SELECT count(*) FROM presence JOIN instances USING (epoch))`)
		if got != "10 40" {
			return fmt.Errorf("instances and peers: %s", got)
		}
		return nil
	})
}

// TestAnIdleFleetWritesItsLeasesAlone: connected peers cost the database nothing.
// Each instance keeps its figures of each minute besides.
func TestAnIdleFleetWritesItsLeasesAlone(t *testing.T) {
	t.Parallel()
	name, url := database(t)
	const instances, seconds = 3, 8
	f := newFleet(t, url, instances, nil)
	f.peers(f.swarm, 60)
	wait(t, 12*time.Second) // an idle connection tells after 10 s what it wrote
	const others = `SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables WHERE relname NOT IN ('instances', 'history')`
	const minutes = `SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'history'`
	const leases = `SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'instances'`
	number := func(query string) int {
		n, err := strconv.Atoi(value(t, name, query))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	rows, kept, renewed, began := number(others), number(minutes), number(leases), time.Now()
	wait(t, seconds*time.Second)
	wrote, kept := number(others)-rows, number(minutes)-kept
	rate := float64(number(leases)-renewed) / time.Since(began).Seconds()
	t.Logf("%d rows beside the leases and %d of history, %.1f leases a second", wrote, kept, rate)
	if wrote > 0 || kept > instances { // at most one minute has ended
		t.Errorf("%d rows were written for nothing, and %d of history", wrote, kept)
	}
	if rate < instances*0.4 || rate > instances*1.6 {
		t.Errorf("%.1f leases renewed a second by %d instances", rate, instances)
	}
}
