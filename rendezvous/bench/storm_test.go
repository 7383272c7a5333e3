//go:build linux

package bench

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
)

// stormFigures describes how peers connect again after their instance was killed.
type stormFigures struct {
	instances int // that were left running
	peers     int // of all instances
	back      swarm.Return
	after     swarm.Messages // between peers of all instances, afterwards
}

const stormTimeout = 90 * time.Second

// storm kills one of three instances and measures when its peers are connected again.
// Then it restarts that instance and kills another one.
func (b *bench) storm() {
	three := b.cluster(3)
	s := b.swarm(three...)
	n := b.sizes[len(b.sizes)-1]
	peers := b.peers(s, n)
	b.online(s, peers)
	pairs := swarm.Pairs(peers, b.talkers/2)
	if err := s.Allow(b.Context(), pairs, b.conns); err != nil {
		b.Fatal(err)
	}
	for _, victim := range three[1:] {
		pause(b.Context(), b.steady)
		if s.Online() != n {
			b.Fatalf("%d of %d peers are connected before the storm", s.Online(), n)
		}
		at := time.Now()
		victim.Kill()
		ctx, cancel := context.WithTimeout(b.Context(), stormTimeout)
		f := stormFigures{instances: len(three) - 1, peers: n, back: s.Await(ctx, at, time.Second)}
		cancel()
		var err error
		traffic := swarm.Load{PerSecond: b.rates[0], During: b.scale.talk, Bytes: messageBytes}
		f.after, err = s.Send(b.Context(), pairs, traffic)
		if err != nil {
			b.Fatal(err)
		}
		if len(f.back.Back) < f.back.Lost || s.Online() != n {
			b.Errorf("%d peers lost their instance, %d are back after %s; %d of %d are connected",
				f.back.Lost, len(f.back.Back), time.Since(at), s.Online(), n)
		}
		if confirmed := len(f.after.Confirmed); confirmed < f.after.Offered {
			b.Errorf("afterwards %d of %d messages were confirmed, failed: %v",
				confirmed, f.after.Offered, f.after.Failed)
		}
		b.report.storms = append(b.report.storms, f)
		_, silent := s.Pings()
		b.Logf("reasons for lost connections: %v; %d got no pong", s.Reasons(), silent)
		b.Logf("%d of %d lost, back after %s (half), %s (99 %%), load %s", f.back.Lost, n,
			f.back.Back.Quantile(0.5), f.back.Back.Quantile(0.99), load())
		victim.Again()
	}
}
