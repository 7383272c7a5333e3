package transport_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// newLimitScene is two peers with a link of 100 Mbit/s.
func newLimitScene(t *testing.T) *narrowScene {
	s := newNarrowScene(t)
	s.link.become(100*mbit, link.Stats{})
	return s
}

// carried returns the rate on a lane while it always has something to send, in bytes per second.
func (s *narrowScene) carried(i int, d time.Duration) float64 {
	s.t.Helper()
	s.push(i, tunnel.ClassBulk, 200, 64<<10)
	time.Sleep(time.Second) // bursts pass
	before := s.link.bytes()[laneOf(i)]
	time.Sleep(d)
	return float64(s.link.bytes()[laneOf(i)]-before) / d.Seconds()
}

func wantRate(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < 0.85*want || got > 1.1*want {
		t.Errorf("%s: %.2f Mbit/s, want %.2f", what, got/mbit, want/mbit)
	}
}

func TestLimitOfDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLimitScene(t)
		defer s.end()
		s.lanes.SetLimit(8e6)
		wantRate(t, "the device", s.carried(0, 5*time.Second), 8*mbit)
		if d := s.arrive(1, tunnel.ClassInteractive, 20, 100*time.Millisecond); d > 2*packetTime {
			t.Errorf("a key press took %v", d)
		}
		other := s.a.state.NewGroup(narrowAttachment+1, newReceiver())
		other.Open()
		lane := other.Lane(1, tunnel.ClassBulk)
		for range 100 {
			lane.Push(tunnel.KindSubmit, make([]byte, 64<<10), 1)
		}
		began := time.Now()
		for s.link.bytes()[tunnel.EndpointLane(narrowAttachment+1, 1)] < 100*64<<10 {
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("a device without a limit needed %v", d)
		}
		s.lanes.Close() // while a frame waits
	})
}

func TestLimitOfEitherPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLimitScene(t)
		defer s.end()
		s.b.SetLimit(16e6)
		synctest.Wait()
		wantRate(t, "the limit of the receiver", s.carried(0, 3*time.Second), 16*mbit)
		s.a.SetLimit(8e6)
		synctest.Wait()
		wantRate(t, "the lower limit", s.carried(0, 3*time.Second), 8*mbit)
		if a, b := s.a.Status().Limit, s.b.Status().Limit; a != 8e6 || b != 8e6 {
			t.Errorf("limits in the status: %d and %d", a, b)
		}
		s.link.Close("a new link follows")
		s.link = s.connect(udpPath, 100*mbit, link.Stats{})
		wantRate(t, "the limit on a new link", s.carried(0, 3*time.Second), 8*mbit)
		s.a.SetLimit(0)
		s.b.SetLimit(0)
		synctest.Wait()
		if got := s.carried(0, time.Second/2); got < 50*mbit {
			t.Errorf("%.1f Mbit/s without a limit", got/mbit)
		}
	})
}
