//go:build linux

package bench

import (
	"time"

	"github.com/easyfind-usb/easyfind/deploy/load/swarm"
)

// idleFigures holds the cost of peers that only send pings.
type idleFigures struct {
	peers     int
	rss       int           // bytes
	cpu       time.Duration // of the instance in the window
	window    time.Duration
	pings     int           // in the window
	connected time.Duration // processor time of the instance for each new connection
	perSecond float64       // new connections
}

// idle measures the cost of connected peers that do nothing, for several numbers of
// peers.
func (b *bench) idle() {
	i := b.cluster(1)[0]
	s := b.swarm(i)
	var peers []*swarm.Peer
	b.Logf("registering %d peers", b.sizes[len(b.sizes)-1])
	all := b.peers(s, b.sizes[len(b.sizes)-1])
	pause(b.Context(), b.settle)
	rss, err := i.RSS()
	if err != nil {
		b.Fatal(err)
	}
	b.report.idle = []idleFigures{{rss: rss}}
	for _, size := range b.sizes {
		f := idleFigures{peers: size, window: b.window}
		fresh := all[len(peers):size]
		began := time.Now()
		f.connected = i.Spent(func() { b.online(s, fresh) }) / time.Duration(len(fresh))
		f.perSecond = float64(len(fresh)) / time.Since(began).Seconds()
		peers = all[:size]
		pause(b.Context(), b.settle)
		pings, _ := s.Pings()
		f.cpu = i.Spent(func() { pause(b.Context(), b.window) })
		after, silent := s.Pings()
		f.pings = after - pings
		if f.rss, err = i.RSS(); err != nil {
			b.Fatal(err)
		}
		if silent > 0 || f.pings == 0 && *measure {
			b.Errorf("%d pings, %d without an answer", f.pings, silent)
		}
		b.whole(s, size)
		b.report.idle = append(b.report.idle, f)
		b.Logf("%d peers: %d MB, %s of processor time in %s, load %s", size, f.rss>>20, f.cpu, f.window, load())
	}
}
