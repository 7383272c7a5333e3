package transport_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFramesArriveOnceAcrossLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		s.push(1, 100) // before the first link
		for round := range 20 {
			l := s.connect(link.RankHost)
			s.push(1, 50)
			s.push(2, 50)
			if round%2 == 0 {
				synctest.Wait()
			}
			l.Break(errors.New("the path failed"))
		}
		s.connect(link.RankHost)
		if got := s.to.count(t); got != 2100 {
			t.Errorf("%d frames arrived, want 2100", got)
		}
		time.Sleep(time.Second)
		if s.from.count(t); s.from.cost != 21_000 {
			t.Errorf("a cost of %d was acknowledged, want 21000", s.from.cost)
		}
		if got := s.a.Counters(); got.Switches != 21 || got.Losses == 0 {
			t.Errorf("counters: %+v", got)
		}
	})
}

func TestLaneThatIsHeldUpDoesNotDelayAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		s.connect(link.RankHost)
		hold := make(chan struct{})
		defer close(hold)
		s.to.mu.Lock()
		s.to.hold[tunnel.EndpointLane(1, 1)] = hold
		s.to.mu.Unlock()
		s.push(1, 1000)
		s.push(2, 100)
		if got := s.to.count(t); got != 100 {
			t.Errorf("%d frames of the other lane arrived, want 100", got)
		}
	})
}

// stuckLink takes the frames of lane 0 only. Send blocks with any other one until the link is closed.
type stuckLink struct {
	*linktest.Memory
	closed chan struct{}
	close  func()
}

func (l stuckLink) Send(f tunnel.Frame) error {
	if f.Lane != tunnel.LaneLink {
		<-l.closed
	}
	return l.Memory.Send(f)
}

func (l stuckLink) Close(reason string) {
	l.Memory.Close(reason)
	l.close()
}

func TestBetterLinkTakesOverFromOneThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		a, b := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, link.Path{Rank: link.RankRelayUDP})
		closed := make(chan struct{})
		s.a.Join(stuckLink{a, closed, sync.OnceFunc(func() { close(closed) })})
		s.b.Join(b)
		s.push(1, 1000)
		s.push(2, 100)
		if got := s.to.count(t); got != 0 {
			t.Errorf("%d frames arrived on a link that is stuck", got)
		}
		s.connect(link.RankHost)
		if got := s.to.count(t); got != 1100 {
			t.Errorf("%d frames arrived, want 1100", got)
		}
		if events := s.a.takeEvents(); len(events) != 2 || events[0] != "up" || events[1] != "up" {
			t.Errorf("events: %q", events)
		}
	})
}

// laneCounter counts the lanes that were ended.
type laneCounter struct {
	*linktest.Memory
	ended *atomic.Int32
}

func (l laneCounter) EndLane(lane tunnel.Lane) {
	l.ended.Add(1)
	l.Memory.EndLane(lane)
}

func TestClosedGroupEndsItsLanesOnEachLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		var ended [2]atomic.Int32
		for i, rank := range []link.Rank{link.RankRelayUDP, link.RankHost} {
			a, b := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, link.Path{Rank: rank})
			s.a.Join(laneCounter{a, &ended[i]})
			s.b.Join(b)
			synctest.Wait()
			s.push(1, 10)
			s.push(2, 10)
			synctest.Wait()
		}
		s.group.Close()
		synctest.Wait()
		for i := range ended {
			if got := ended[i].Load(); got != 2 {
				t.Errorf("link %d: %d lanes were ended, want 2", i, got)
			}
		}
		if _, ok := s.group.Lane(1, tunnel.ClassBulk).Push(tunnel.KindSubmit, make([]byte, 8), 1); ok {
			t.Error("a lane of the closed group takes frames")
		}
	})
}

func TestViolationReachesTheGroupOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		s.connect(link.RankHost)
		for endpoint, want := range map[uint8]string{
			3: "a frame that the user refuses",
			9: "a frame for endpoint 0x9, which does not exist",
		} {
			body := binary.BigEndian.AppendUint64(nil, 1)
			s.group.Lane(endpoint, tunnel.ClassBulk).Push(tunnel.KindCancel, body, 1)
			if s.to.count(t); s.to.violated != want {
				t.Errorf("violated: %q, want %q", s.to.violated, want)
			}
		}
		if events := s.b.takeEvents(); len(events) != 1 || events[0] != "up" {
			t.Errorf("events: %q", events)
		}
	})
}

func TestViolationOfLane1DropsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		s.connect(link.RankHost)
		s.a.state.Control().Lane(1, tunnel.ClassBulk).Push(tunnel.KindDevices, binary.BigEndian.AppendUint64(nil, 1), 1)
		if events := s.b.takeEvents(); len(events) != 1 {
			t.Errorf("events after a frame that the user accepts: %q", events)
		}
		s.a.state.Control().Lane(1, tunnel.ClassBulk).Push(tunnel.KindAttach, binary.BigEndian.AppendUint64(nil, 2), 1)
		if events := s.b.takeEvents(); len(events) != 1 || events[0] != "reset: "+errRefused.Error() {
			t.Errorf("events after a frame that the user refuses: %q", events)
		}
	})
}

func TestBudgetDropsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		l := s.connect(link.RankHost)
		l.Break(errors.New("the path failed"))
		time.Sleep(budget - time.Second)
		if events := s.a.takeEvents(); len(events) != 2 || events[1] != "down: the path failed" {
			t.Errorf("events within the budget: %q", events)
		}
		time.Sleep(time.Second)
		if events := s.a.takeEvents(); len(events) != 1 ||
			events[0] != "reset: no link to the peer for as long as a budget of 1m0s allows" {
			t.Errorf("events after the budget: %q", events)
		}
		if _, ok := s.group.Lane(1, tunnel.ClassBulk).Push(tunnel.KindSubmit, make([]byte, 8), 1); ok {
			t.Error("a lane of the dropped state takes frames")
		}
	})
}

func TestStopReachesThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		s.connect(link.RankHost)
		s.a.stop()
		<-s.a.done
		if events := s.b.takeEvents(); len(events) != 2 || events[1] != "reset: the peer's agent was stopped" {
			t.Errorf("events: %q", events)
		}
		late, other := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, linktest.LAN())
		s.a.Join(late)
		if !other.Ended() {
			t.Error("a link that joined after the end is open")
		}
	})
}
