package transport_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	oneWay      = 10 * time.Millisecond
	lostPackets = 0.05
)

// losingLink is a link that loses packets. A frame that is lost arrives two round trips later, and delays those after
// it on its lane. A lossy frame that is lost never arrives.
type losingLink struct {
	*linktest.Memory

	mu     sync.Mutex
	rng    *rand.Rand // guarded by mu
	copies int        // guarded by mu
}

func (l *losingLink) Stats() link.Stats { return link.Stats{Loss: lostPackets} }

func (l *losingLink) Send(f tunnel.Frame) error {
	if f.Lane <= tunnel.LaneSession {
		return l.Memory.Send(f)
	}
	l.mu.Lock()
	lost := l.rng.Float64() < lostPackets
	if f.Kind == tunnel.KindCopy {
		l.copies++
	}
	l.mu.Unlock()
	switch {
	case !lost:
		time.Sleep(oneWay)
	case f.Kind.Lossy():
		return nil
	default:
		time.Sleep(oneWay + 4*oneWay)
	}
	return l.Memory.Send(f)
}

func TestLossDelaysNoKeyPress(t *testing.T) {
	for name, c := range map[string]struct {
		onTime  [2]float64 // the least and the most share
		copied  bool
		accepts func(*linktest.Memory) link.Link
	}{
		"copies":              {[2]float64{0.99, 1}, true, func(m *linktest.Memory) link.Link { return m }},
		"peer without copies": {[2]float64{0.8, 0.97}, false, func(m *linktest.Memory) link.Link { return oldLink{m} }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newNarrowScene(t)
				defer s.end()
				out, in := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, udpPath)
				l := &losingLink{Memory: out, rng: rand.New(rand.NewPCG(1, 1))}
				s.a.Join(l)
				s.b.Join(c.accepts(in))
				synctest.Wait()
				s.link.Close("only the new link is needed")
				time.Sleep(5 * time.Second) // the loss is measured
				const presses = 1000
				var pressed []time.Time
				for range presses {
					pressed = append(pressed, time.Now())
					s.push(0, tunnel.ClassInteractive, 1, 20)
					time.Sleep(60 * time.Millisecond)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				s.to.mu.Lock()
				defer s.to.mu.Unlock()
				arrived := s.to.at[laneOf(0)]
				if len(arrived) != presses {
					t.Fatalf("%d key presses arrived, want %d", len(arrived), presses)
				}
				onTime := 0
				for i, at := range arrived {
					if at.Sub(pressed[i]) <= oneWay+10*time.Millisecond {
						onTime++
					}
				}
				if share := float64(onTime) / presses; share < c.onTime[0] || share > c.onTime[1] {
					t.Errorf("%.3f of the key presses were on time", share)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.copies > 0 != c.copied || l.copies > presses {
					t.Errorf("%d copies", l.copies)
				}
			})
		})
	}
}
