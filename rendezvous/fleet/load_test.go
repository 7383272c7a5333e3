//go:build linux

package fleet

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// TestAFloodHarmsNobodyElse: while one peer sends without measure, the messages
// of the others take at most twice as long. Both are measured one after the
// other, some times: what else the machine does may spoil one of them, and so
// it is done before the other tests run beside each other.
func TestAFloodHarmsNobodyElse(t *testing.T) {
	_, url := database(t)
	f := newFleet(t, url, 2, nil)
	_, pairs := f.peers(f.swarm, 60)
	flooders := f.newSwarm()
	_, flood := f.peers(flooders, 2)
	f.settled(f.swarm, pairs)
	const rounds, flooded, slack = 6, 2000, 10 * time.Millisecond
	for round := range rounds {
		quiet := f.talk(f.swarm, pairs, 2*time.Second)()
		messages := f.talk(f.swarm, pairs, 2*time.Second)
		m, err := flooders.Send(t.Context(), flood, swarm.Load{PerSecond: flooded, During: 2 * time.Second, Bytes: 300})
		if err != nil {
			t.Fatal(err)
		}
		during := messages()
		if len(during.Confirmed) != during.Offered || flooders.Lost() > 0 {
			t.Errorf("%d of %d messages of the others passed, and who floods lost %d connections", len(during.Confirmed), during.Offered, flooders.Lost())
		}
		if limited := m.Failed[signal.FailureRate]; limited < m.Offered/2 {
			t.Errorf("of a flood of %d messages %d were refused", m.Offered, limited)
		}
		before, after := quiet.Confirmed.Quantile(0.99), during.Confirmed.Quantile(0.99)
		t.Logf("p99 %s, and %s in the flood", before, after)
		if after <= 2*before+slack {
			return
		}
		if round == rounds-1 {
			t.Errorf("the flood delays the others")
		}
	}
}

// TestAStormOfPeersThatComeBack: a thousand peers lose their instance together,
// and come to the one that is left. Those who are there notice nothing, and the
// instance grows by what its peers cost.
func TestAStormOfPeersThatComeBack(t *testing.T) {
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
	messages := f.talk(here, pairs, 8*time.Second)
	wait(t, time.Second)
	at := time.Now()
	f.all[1].Kill()
	back := s.Await(t.Context(), at, time.Second)
	after, err := f.all[0].RSS()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d peers lost their instance, back after %s (half), %s (99 %%), %s (all); resident %d MB, %d MB", back.Lost, n,
		back.Back.Quantile(0.5).Round(time.Millisecond), back.Back.Quantile(0.99).Round(time.Millisecond), back.Back.Quantile(1).Round(time.Millisecond), before>>20, after>>20)
	if back.Lost < n/3 || len(back.Back) != back.Lost {
		t.Errorf("%d of %d are back", len(back.Back), back.Lost)
	}
	if after > before+back.Lost*perPeer+spare {
		t.Errorf("the instance has grown by %d MB", (after-before)>>20)
	}
	messages()
	connected(t, here, 20)
	connected(t, s, n)
	f.settled(here, pairs)
}
