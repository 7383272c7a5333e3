package transport_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const budget = time.Minute

// peer is a transport and its user.
type peer struct {
	*transport.Transport
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	state  *transport.State
	events []string
}

func (p *peer) Begin(s *transport.State, reason string) transport.Receiver {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
	if reason != "" {
		p.events = append(p.events, "reset: "+reason)
	}
	return newReceiver()
}

func (p *peer) LinkUp(link.Path)       { p.note("up") }
func (p *peer) LinkDown(reason string) { p.note("down: " + reason) }
func (p *peer) Margin() time.Duration  { return 0 }

func (p *peer) note(event string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event)
}

// takeEvents returns the events since the last call.
func (p *peer) takeEvents() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	events := p.events
	p.events = nil
	return events
}

// open opens attachment 1.
func (p *peer) open(r *receiver) *transport.Group {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.state.NewGroup(1, r)
	g.Open()
	for endpoint := range uint8(4) {
		g.Allow(endpoint)
	}
	return g
}

// receiver records the frames of a group.
type receiver struct {
	mu       sync.Mutex
	next     map[tunnel.Lane]uint64
	wrong    []string
	received int
	cost     int
	violated string
	hold     map[tunnel.Lane]chan struct{} // Deliver waits for them
}

func newReceiver() *receiver {
	return &receiver{next: make(map[tunnel.Lane]uint64), hold: make(map[tunnel.Lane]chan struct{})}
}

var errRefused = errors.New("a frame that the user refuses")

func (r *receiver) Deliver(f tunnel.Frame) error {
	r.mu.Lock()
	hold := r.hold[f.Lane]
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received++
	r.next[f.Lane]++
	if got := binary.BigEndian.Uint64(f.Body); got != r.next[f.Lane] {
		r.wrong = append(r.wrong, fmt.Sprintf("lane %#x: %d instead of %d", f.Lane, got, r.next[f.Lane]))
	}
	if f.Kind == tunnel.KindCancel || f.Kind == tunnel.KindAttach {
		return errRefused
	}
	return nil
}

func (r *receiver) Acknowledged(_ tunnel.Lane, _ uint64, cost int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cost += cost
}

func (r *receiver) Violated(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violated = reason
}

// count returns the number of frames that were received, after a check of their order.
func (r *receiver) count(t *testing.T) int {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.wrong {
		t.Error(s)
	}
	return r.received
}

// scene is two peers of which a pushes frames and b receives them.
type scene struct {
	t      *testing.T
	a, b   *peer
	from   *receiver // of a
	to     *receiver // of b
	group  *transport.Group
	pushed map[uint8]uint64
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, from: newReceiver(), to: newReceiver(), pushed: make(map[uint8]uint64)}
	for _, p := range []**peer{&s.a, &s.b} {
		next := &peer{done: make(chan struct{})}
		next.Transport = transport.New(transport.Config{
			Handler: next, Budget: budget, Logger: slog.New(slog.DiscardHandler),
		})
		var ctx context.Context
		ctx, next.stop = context.WithCancel(context.Background())
		go func() {
			defer close(next.done)
			if err := next.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		*p = next
	}
	s.group = s.a.open(s.from)
	s.b.open(s.to)
	return s
}

func (s *scene) end() {
	s.a.stop()
	s.b.stop()
	<-s.a.done
	<-s.b.done
}

// connect joins the peers by a link and returns a's side.
func (s *scene) connect(rank link.Rank) *linktest.Memory {
	a, b := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, link.Path{Rank: rank})
	s.a.Join(a)
	s.b.Join(b)
	synctest.Wait()
	return a
}

// push sends n frames of cost 10 on the lane of an endpoint.
func (s *scene) push(endpoint uint8, n int) {
	for range n {
		s.pushed[endpoint]++
		body := binary.BigEndian.AppendUint64(s.a.NewBody(0), s.pushed[endpoint])
		if _, ok := s.group.Lane(endpoint).Push(tunnel.KindSubmit, body, 10); !ok {
			s.t.Error("the lane is closed")
		}
	}
}

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
		if got := s.a.Counters(); got.Losses != 20 || got.Switches != 21 {
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
			s.group.Lane(endpoint).Push(tunnel.KindCancel, body, 1)
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
		s.a.state.Control().Lane(1).Push(tunnel.KindDevices, binary.BigEndian.AppendUint64(nil, 1), 1)
		if events := s.b.takeEvents(); len(events) != 1 {
			t.Errorf("events after a frame that the user accepts: %q", events)
		}
		s.a.state.Control().Lane(1).Push(tunnel.KindAttach, binary.BigEndian.AppendUint64(nil, 2), 1)
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
		if _, ok := s.group.Lane(1).Push(tunnel.KindSubmit, make([]byte, 8), 1); ok {
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
