//go:build linux

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/processtest"
)

var (
	measure = flag.Bool("bench-rendezvous", false, "measure the rendezvous at full scale, which takes about ten "+
		"minutes")
	peers = flag.Int("bench-peers", 20_000, "maximum number of peers")
	only  = flag.String("bench-only", "", "measure only some of registrations,signalling,handshakes,idle,storm")
	write = flag.Bool("bench-write", false, "write the figures to deploy/docs/benchmarks-rendezvous.md")
)

// scale holds the amounts that are measured.
type scale struct {
	sizes         []int // numbers of idle peers, ascending
	settle        time.Duration
	window        time.Duration // of the measurement of idle processor time
	registrations int           // in each round
	alone         int           // registrations on a connection of their own
	rounds        int
	conns         int // parallel connections
	lookups       time.Duration
	talkers       int   // peers that send or receive
	rates         []int // messages per second
	talk          time.Duration
	listeners     int // of NOTIFY
	handshakes    time.Duration
	steady        time.Duration // before an instance is killed
}

// spareFiles is the number of files that an instance has open for other things than peers.
const spareFiles = 100

// full returns the scale of measurements.
func full() scale {
	s := scale{
		sizes: []int{1000, 5000, 10_000}, settle: 26 * time.Second, window: 30 * time.Second,
		registrations: 4500, alone: 1200, rounds: 3, conns: 64, lookups: 3 * time.Second,
		talkers: 1000, rates: []int{1000, 5000}, talk: 6 * time.Second, listeners: 64,
		handshakes: 3 * time.Second, steady: 12 * time.Second,
	}
	most := min(*peers, swarm.MaxConnections()-spareFiles)
	s.sizes = append(slices.DeleteFunc(s.sizes, func(n int) bool { return n >= most }), most)
	return s
}

// small returns the scale of a test that does not measure.
func small() scale {
	return scale{
		sizes: []int{20, 60}, settle: time.Second, window: 2 * time.Second,
		registrations: 60, alone: 10, rounds: 1, conns: 4, lookups: 300 * time.Millisecond,
		talkers: 40, rates: []int{50, 100}, talk: time.Second, listeners: 4,
		handshakes: 300 * time.Millisecond, steady: time.Second,
	}
}

// bench is a run of measurements.
type bench struct {
	testing.TB
	scale
	program  string
	postgres *pgtest.Cluster
	report   report
}

// TestRendezvous measures, or at a small scale tests that the measurements work.
func TestRendezvous(t *testing.T) {
	b := &bench{TB: t, scale: small()}
	if *measure {
		b.scale = full()
	}
	var err error
	if b.program, err = processtest.Build(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	// These are the defaults of Postgres: a committed transaction is on the disk.
	b.postgres = pgtest.Own(t, "fsync=on", "full_page_writes=on", "shared_buffers=128MB", "max_connections=300")
	b.report.begin(b.scale, *measure)
	for _, part := range []struct {
		name string
		run  func(*bench)
	}{
		{"registrations", (*bench).registrationsAndLookups},
		{"signalling", (*bench).signalling},
		{"handshakes", (*bench).tlsHandshakes},
		{"idle", (*bench).idle},
		{"storm", (*bench).storm},
	} {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), part.name) {
			continue
		}
		ok := t.Run(part.name, func(t *testing.T) {
			inner := *b
			inner.TB = t
			part.run(&inner)
			b.report = inner.report
		})
		if !ok {
			return
		}
	}
	t.Log("\n" + b.report.markdown())
	if *write {
		if err := b.report.write(); err != nil {
			t.Error(err)
		}
	}
}

// cluster starts n instances with one database and one certificate.
func (b *bench) cluster(n int) []*processtest.Instance {
	b.Helper()
	url := b.postgres.Fresh(b)
	args := []string{"--database-url", url, "--cluster-listen", "127.0.0.1:0"}
	first := processtest.Start(b, b.program, args...)
	args = append(args, "--tls-cert", first.Data+"/tls-cert.pem", "--tls-key", first.Data+"/tls-key.pem")
	all := []*processtest.Instance{first}
	for len(all) < n {
		all = append(all, processtest.Start(b, b.program, args...))
	}
	return all
}

// swarm returns a swarm of peers for instances. It uses the first one's join link.
func (b *bench) swarm(at ...*processtest.Instance) *swarm.Swarm {
	b.Helper()
	join, err := api.ParseJoinLink(at[0].Link)
	if err != nil {
		b.Fatal(err)
	}
	config := swarm.Config{Join: join, Sources: netip.MustParsePrefix("127.0.0.0/8")}
	for _, i := range at {
		config.Hosts = append(config.Hosts, i.Host)
	}
	s, err := swarm.New(config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

// peers registers n peers.
func (b *bench) peers(s *swarm.Swarm, n int) []*swarm.Peer {
	b.Helper()
	all, _, err := s.Register(b.Context(), n, b.conns, swarm.PerConnection)
	if err != nil {
		b.Fatal(err)
	}
	return all
}

// online connects peers.
func (b *bench) online(s *swarm.Swarm, peers []*swarm.Peer) {
	b.Helper()
	ctx, cancel := context.WithTimeoutCause(b.Context(), 3*time.Minute,
		errors.New("connecting the peers takes too long"))
	defer cancel()
	if err := s.Connect(ctx, peers, 2*b.conns); err != nil {
		b.Fatal(err)
	}
}

// whole fails if a connection was lost.
func (b *bench) whole(s *swarm.Swarm, peers int) {
	b.Helper()
	if s.Online() != peers || s.Lost() > 0 {
		b.Errorf("%d of %d peers are connected, %d connections were lost", s.Online(), peers, s.Lost())
	}
}

// median returns the median of the results of the rounds.
func median[T int | float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// load returns the machine's load average of the last minute.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	var one string
	fmt.Sscan(string(raw), &one)
	return one
}

// pause waits while something is measured over time.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
