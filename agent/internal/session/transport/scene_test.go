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

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

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
func (p *peer) SeekLink()              { p.note("seek") }
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
		if _, ok := s.group.Lane(endpoint, tunnel.ClassBulk).Push(tunnel.KindSubmit, body, 10); !ok {
			s.t.Error("the lane is closed")
		}
	}
}
