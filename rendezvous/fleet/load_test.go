//go:build linux

package fleet

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// TestFloodDoesNotAffectOtherPeers: while one peer sends as fast as it can, its
// messages are limited and those of the others arrive. The test logs the delays of
// both. It does not run in parallel, so that they can be compared.
func TestFloodDoesNotAffectOtherPeers(t *testing.T) {
	_, url := database(t)
	f := newFleet(t, url, 2, nil)
	_, pairs := f.peers(f.swarm, 60)
	flooders := f.newSwarm()
	_, flood := f.peers(flooders, 2)
	f.settled(f.swarm, pairs)
	const perSecond, during = 2000, 2 * time.Second
	before := f.talk(f.swarm, pairs, during)()
	messages := f.talk(f.swarm, pairs, during)
	m, err := flooders.Send(t.Context(), flood, swarm.Load{PerSecond: perSecond, During: during, Bytes: 300})
	if err != nil {
		t.Fatal(err)
	}
	after := messages()
	t.Logf("p99 %s without the flood, %s with it", before.Confirmed.Quantile(0.99), after.Confirmed.Quantile(0.99))
	if len(after.Confirmed) != after.Offered {
		t.Errorf("%d of %d messages of the others arrived", len(after.Confirmed), after.Offered)
	}
	if lost := flooders.Lost(); lost > 0 {
		t.Errorf("the flooding peers lost %d connections", lost)
	}
	if limited := m.Failed[signal.FailureRate]; limited < m.Offered/2 {
		t.Errorf("%d of the %d messages of the flood were refused, want at least half", limited, m.Offered)
	}
}

// TestThousandPeersReconnectTogether: a thousand peers lose their instance at the
// same time and connect to the remaining one. The peers of that instance are not
// affected, and its memory grows only by what the new peers need.
func TestThousandPeersReconnectTogether(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	f := newFleet(t, url, 2, nil)
	here := f.newSwarm()
	_, pairs := f.peers(here, 20)
	s := f.direct()
	const n, perPeer, spare = 1000, 100 << 10, 64 << 20
	all, _, err := s.Register(t.Context(), n, 16, swarm.PerConnection)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(t.Context(), all, 32); err != nil {
		t.Fatal(err)
	}
	before, err := f.all[0].RSS()
	if err != nil {
		t.Fatal(err)
	}
	f.talk(here, pairs, time.Second)()
	messages := f.talk(here, pairs, 7*time.Second)
	at := time.Now()
	f.all[1].Kill()
	back := s.Await(t.Context(), at, time.Second)
	after, err := f.all[0].RSS()
	if err != nil {
		t.Fatal(err)
	}
	quantile := func(q float64) time.Duration { return back.Back.Quantile(q).Round(time.Millisecond) }
	t.Logf("%d of %d peers lost their instance, back after %s (half), %s (99 %%), %s (all); resident memory %d MB, "+
		"then %d MB",
		back.Lost, n, quantile(0.5), quantile(0.99), quantile(1), before>>20, after>>20)
	if back.Lost < n/3 || len(back.Back) != back.Lost {
		t.Errorf("%d of %d peers are back", len(back.Back), back.Lost)
	}
	if after > before+back.Lost*perPeer+spare {
		t.Errorf("the memory of the instance has grown by %d MB", (after-before)>>20)
	}
	messages()
	connected(t, here, 20)
	connected(t, s, n)
	f.settled(here, pairs)
}
