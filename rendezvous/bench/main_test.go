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
	measure = flag.Bool("bench-rendezvous", false, "measure the rendezvous at full scale, for some ten minutes")
	peers   = flag.Int("bench-peers", 20_000, "peers at most")
	only    = flag.String("bench-only", "", "measure these alone, of registrations,signalling,handshakes,idle,storm")
	write   = flag.Bool("bench-write", false, "write the figures to deploy/docs/benchmarks-rendezvous.md")
)

// scale is how much is measured.
type scale struct {
	sizes         []int // of the idle peers, rising
	settle        time.Duration
	window        time.Duration // in which idle processor time is counted
	registrations int           // in a round
	alone         int           // registrations over a connection each
	rounds        int
	conns         int // that ask at once
	lookups       time.Duration
	talkers       int   // peers that send or receive
	rates         []int // messages a second
	talk          time.Duration
	listeners     int // of NOTIFY
	handshakes    time.Duration
	steady        time.Duration // before an instance is killed
}

// spareFiles is for what an instance has open beside its peers.
const spareFiles = 100

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

// TestRendezvous measures. At a small scale it shows that what is measured works.
func TestRendezvous(t *testing.T) {
	b := &bench{TB: t, scale: small()}
	if *measure {
		b.scale = full()
	}
	var err error
	if b.program, err = processtest.Build(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	// As an operator runs it: what is committed is on the disk.
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

// cluster starts so many instances over one database. They share a certificate.
func (b *bench) cluster(n int) []*processtest.Instance {
	b.Helper()
	url := b.postgres.Fresh(b)
	all := []*processtest.Instance{processtest.Start(b, b.program, "--database-url", url, "--cluster-listen", "127.0.0.1:0")}
	first := all[0]
	for len(all) < n {
		all = append(all, processtest.Start(b, b.program, "--database-url", url, "--cluster-listen", "127.0.0.1:0",
			"--tls-cert", first.Data+"/tls-cert.pem", "--tls-key", first.Data+"/tls-key.pem"))
	}
	return all
}

// swarm makes a swarm for instances that share the first one's join link.
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

// peers registers so many peers.
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
	ctx, cancel := context.WithTimeoutCause(b.Context(), 3*time.Minute, errors.New("it takes too long"))
	defer cancel()
	if err := s.Connect(ctx, peers, 2*b.conns); err != nil {
		b.Fatal(err)
	}
}

// whole fails where a connection was lost.
func (b *bench) whole(s *swarm.Swarm, peers int) {
	b.Helper()
	if s.Online() != peers || s.Lost() > 0 {
		b.Errorf("%d of %d peers are connected, %d connections were lost", s.Online(), peers, s.Lost())
	}
}

// median of what was measured in rounds.
func median[T int | float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// load is the machine's load average over the last minute.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	var one string
	fmt.Sscan(string(raw), &one)
	return one
}

// pause waits, for what is measured over time.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
