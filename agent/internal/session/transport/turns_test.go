package transport_test

import (
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	narrowRate = 10e6 / 8 // bytes per second
	packetTime = time.Millisecond
)

// narrowLink is a link that sends one packet after the other, in turn from each lane
// that has one, as a QUIC engine does.
type narrowLink struct {
	*linktest.Memory
	line chan struct{} // holds one while no packet is being sent; receivers get it in order

	tick   time.Duration // that a packet takes
	packet atomic.Int64  // bytes in a tick
	stats  atomic.Pointer[link.Stats]

	mu   sync.Mutex
	sent map[tunnel.Lane]int // bytes, guarded by mu
}

func newNarrowLink(m *linktest.Memory, tick time.Duration, rate float64, stats link.Stats) *narrowLink {
	l := &narrowLink{Memory: m, tick: tick, line: make(chan struct{}, 1), sent: make(map[tunnel.Lane]int)}
	l.line <- struct{}{}
	l.become(rate, stats)
	return l
}

// become gives the link another rate, in bytes per second, and other measurements.
func (l *narrowLink) become(rate float64, stats link.Stats) {
	l.packet.Store(int64(rate * l.tick.Seconds()))
	l.stats.Store(&stats)
}

func (l *narrowLink) Stats() link.Stats { return *l.stats.Load() }

func (l *narrowLink) Send(f tunnel.Frame) error {
	if f.Lane <= tunnel.LaneSession {
		return l.Memory.Send(f)
	}
	for left := len(f.Body); left > 0; {
		part := f.NextPart(left)
		left -= part
		for part > 0 {
			<-l.line
			time.Sleep(l.tick)
			packet := min(part, int(l.packet.Load()))
			part -= packet
			l.line <- struct{}{}
			l.mu.Lock()
			l.sent[f.Lane] += packet
			l.mu.Unlock()
		}
	}
	f.Part = nil
	return l.Memory.Send(f)
}

// bytes returns the bytes that were sent on each lane.
func (l *narrowLink) bytes() map[tunnel.Lane]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.sent)
}

// arrivals records when frames arrive.
type arrivals struct {
	*receiver
	mu sync.Mutex
	at map[tunnel.Lane][]time.Time
}

func (r *arrivals) Deliver(f tunnel.Frame) error {
	if hold := r.hold[f.Lane]; hold != nil {
		<-hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[f.Lane] = append(r.at[f.Lane], time.Now())
	return nil
}

// narrowScene is two peers that a narrow link joins.
type narrowScene struct {
	*scene
	lanes *transport.Group // of a
	to    *arrivals        // at b
	link  *narrowLink
	tick  time.Duration // of new links
}

func newNarrowScene(t *testing.T) *narrowScene {
	s := &narrowScene{scene: newScene(t), to: &arrivals{receiver: newReceiver(), at: make(map[tunnel.Lane][]time.Time)}}
	s.tick = packetTime
	s.link = s.connect(linktest.LAN(), narrowRate, link.Stats{})
	s.lanes = s.a.state.NewGroup(narrowAttachment, newReceiver())
	s.lanes.Open()
	arriving := s.b.state.NewGroup(narrowAttachment, s.to)
	arriving.Open()
	for i := range busyLanes {
		arriving.Allow(endpointOf(i))
	}
	return s
}

// connect joins the peers by a narrow link.
func (s *narrowScene) connect(path link.Path, rate float64, stats link.Stats) *narrowLink {
	out, in := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, path)
	l := newNarrowLink(out, s.tick, rate, stats)
	s.a.Join(l)
	s.b.Join(in)
	synctest.Wait()
	return l
}

const (
	narrowAttachment = 2
	busyLanes        = 30
)

// endpointOf returns the endpoint addresses of a device, one after the other.
func endpointOf(i int) uint8 {
	if i < 15 {
		return uint8(i + 1)
	}
	return uint8(i-15+1) | 0x80
}

func laneOf(i int) tunnel.Lane { return tunnel.EndpointLane(narrowAttachment, endpointOf(i)) }

// push sends n frames on a lane.
func (s *narrowScene) push(i int, class tunnel.Class, n, bytes int) {
	for range n {
		s.lanes.Lane(endpointOf(i), class).Push(tunnel.KindSubmit, make([]byte, bytes), 1)
	}
}

// arrive returns how long a frame takes that is pushed now, if that is at most within.
func (s *narrowScene) arrive(i int, class tunnel.Class, bytes int, within time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	s.push(i, class, 1, bytes)
	time.Sleep(within)
	synctest.Wait()
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	at := s.to.at[laneOf(i)]
	if len(at) == 0 || at[len(at)-1].Before(began) {
		s.t.Fatalf("a frame of class %d took more than %v", class, within)
	}
	return at[len(at)-1].Sub(began)
}

func TestKeyPressPassesBusyLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNarrowScene(t)
		defer s.end()
		for i := 1; i < busyLanes; i++ {
			s.push(i, tunnel.ClassBulk, 4, 1<<20)
		}
		for range 50 {
			s.arrive(0, tunnel.ClassInteractive, 20, 4*packetTime)
			time.Sleep(19 * time.Millisecond)
		}
	})
}

func TestUrgentClassesWriteFirst(t *testing.T) {
	for _, urgent := range []tunnel.Class{tunnel.ClassSerial, tunnel.ClassIsochronous} {
		synctest.Test(t, func(t *testing.T) {
			s := newNarrowScene(t)
			defer s.end()
			for class := range urgent { // two busy lanes of each class below
				s.push(int(class), class, 20, 1<<20)
				s.push(10+int(class), class, 20, 1<<20)
			}
			time.Sleep(time.Second)
			s.push(9, urgent, 200, 64<<10)
			time.Sleep(time.Second)
			before := s.link.bytes()
			time.Sleep(5 * time.Second)
			after, sum := s.link.bytes(), 0.0
			share := func(i int) float64 { return float64(after[laneOf(i)]-before[laneOf(i)]) / narrowRate / 5 }
			for class := range urgent {
				both := share(int(class)) + share(10+int(class))
				if sum += both; both < 0.06 || both > 0.16 {
					t.Errorf("class %d got %.2f of the link with class %d, want about 1/8", class, both, urgent)
				}
			}
			if got := share(9); got+sum < 0.95 {
				t.Errorf("class %d got %.2f of the link, and the classes below %.2f", urgent, got, sum)
			}
		})
	}
}

// TestHeldUpLaneHoldsUpNoOther has as many lanes as may write at the same time held up by the receiver.
func TestHeldUpLaneHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNarrowScene(t)
		defer s.end()
		hold := make(chan struct{})
		s.to.hold = map[tunnel.Lane]chan struct{}{laneOf(0): hold, laneOf(1): hold}
		defer close(hold)
		for i := range 2 {
			s.push(i, tunnel.ClassSerial, 100, 32<<10)
		}
		time.Sleep(10 * time.Second)
		if d := s.arrive(2, tunnel.ClassBulk, 64<<10, 2*time.Second); d > time.Second {
			t.Errorf("a frame took %v next to lanes that are held up", d)
		}
	})
}
