//go:build linux

package bench

import (
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/rendezvous/processtest"
)

// rate is the median of all rounds.
type rate struct {
	perSecond float64
	cpu       time.Duration // of the server, for one operation
	latency   swarm.Latencies
	times     int
}

// rates collects the results of rounds.
type rates struct {
	perSecond []float64
	cpu       []time.Duration
	latency   swarm.Latencies
}

func (r *rates) add(got swarm.Rate, cpu time.Duration) {
	r.perSecond = append(r.perSecond, got.PerSecond())
	r.cpu = append(r.cpu, cpu/time.Duration(max(1, got.Done)))
	r.latency = append(r.latency, got.Latency...)
}

func (r *rates) result() rate {
	return rate{median(r.perSecond), median(r.cpu), r.latency, len(r.latency)}
}

// registrationsAndLookups measures the REST interface with both databases.
func (b *bench) registrationsAndLookups() {
	stores := []struct {
		name string
		args []string
	}{{"SQLite", nil}, {"Postgres", []string{"--database-url", b.postgres.Fresh(b)}}}
	for _, store := range stores {
		i := processtest.Start(b, b.program, store.args...)
		s := b.swarm(i)
		var many, alone, lookups rates
		var peers []*swarm.Peer
		register := func(r *rates, n, perConnection int) {
			var got swarm.Rate
			var err error
			cpu := i.Spent(func() {
				var new []*swarm.Peer
				new, got, err = s.Register(b.Context(), n, b.conns, perConnection)
				peers = append(peers, new...)
			})
			if err != nil {
				b.Fatalf("%s: %v", store.name, err)
			}
			r.add(got, cpu)
		}
		for range b.rounds {
			register(&many, b.registrations, swarm.PerConnection)
			register(&alone, b.alone, 1)
		}
		peers = peers[:b.talkers]
		b.online(s, peers)
		pairs := swarm.Pairs(peers, len(peers))
		if err := s.Allow(b.Context(), pairs, b.conns); err != nil {
			b.Fatal(err)
		}
		for range b.rounds {
			var got swarm.Rate
			var err error
			cpu := i.Spent(func() { got, err = s.Lookup(b.Context(), pairs, b.conns, b.lookups) })
			if err != nil || got.Done == 0 {
				b.Fatalf("%s: %d lookups: %v", store.name, got.Done, err)
			}
			lookups.add(got, cpu)
		}
		b.whole(s, len(peers))
		b.report.rest = append(b.report.rest,
			restFigures{store.name, many.result(), alone.result(), lookups.result()})
		s.Close()
		i.Stop()
	}
}

// tlsHandshakes measures new connections, full and resumed.
func (b *bench) tlsHandshakes() {
	i := processtest.Start(b, b.program)
	s := b.swarm(i)
	var whole, again rates
	resumed, tried := 0, 0
	for range b.rounds {
		for _, resume := range []bool{false, true} {
			var got swarm.Handshakes
			var err error
			cpu := i.Spent(func() { got, err = s.Handshake(b.Context(), b.conns, b.handshakes, resume) })
			if err != nil || got.Done == 0 {
				b.Fatalf("%d handshakes: %v", got.Done, err)
			}
			if !resume {
				whole.add(got.Rate, cpu)
				continue
			}
			again.add(got.Rate, cpu)
			resumed, tried = resumed+got.Resumed, tried+got.Done
		}
	}
	b.report.handshakes = &handshakeFigures{whole.result(), again.result(), float64(resumed) / float64(tried)}
}
