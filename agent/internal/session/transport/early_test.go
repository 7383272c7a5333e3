package transport_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/linktest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// slowLink delivers a Hello at once, but its Send returns only when released.
type slowLink struct {
	*linktest.Memory
	released chan struct{}
}

func (l slowLink) Send(f tunnel.Frame) error {
	err := l.Memory.Send(f)
	if f.Kind == tunnel.KindHello {
		<-l.released
	}
	return err
}

// manualPeer is a peer that sends only what a test makes it send.
type manualPeer struct {
	link     *linktest.Memory
	released chan struct{} // lets Send of the other side return
	done     chan struct{}

	mu    sync.Mutex
	hello tunnel.Hello // the last one that has arrived
}

// joinManualPeer connects a to a manual peer by a slowLink.
func (s *scene) joinManualPeer() *manualPeer {
	s.t.Helper()
	a, b := linktest.Pair(ident.PeerID{1}, ident.PeerID{2}, link.Path{Rank: link.RankHost})
	p := &manualPeer{link: b, released: make(chan struct{}), done: make(chan struct{})}
	s.a.Join(slowLink{a, p.released})
	go func() {
		defer close(p.done)
		_ = b.Run(context.Background(), p.deliver) // the test breaks the link
	}()
	synctest.Wait()
	return p
}

func (p *manualPeer) deliver(f tunnel.Frame) error {
	if f.Kind != tunnel.KindHello {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	p.hello, err = tunnel.DecodeHello(f.Body)
	return err
}

func (p *manualPeer) send(t *testing.T, kind tunnel.Kind, body []byte) {
	t.Helper()
	if err := p.link.Send(tunnel.Frame{Kind: kind, Body: body}); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

func (p *manualPeer) end() {
	p.link.Break(errors.New("the path failed"))
	<-p.done
	synctest.Wait()
}

// TestAckThatArrivesEarlyCounts lets an Ack arrive after the peer has this agent's Hello, and before Send of the Hello
// has returned.
func TestAckThatArrivesEarlyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		defer s.end()
		s.push(1, 10)
		hello := tunnel.Hello{Version: tunnel.Version, Incarnation: 7}
		first := s.joinManualPeer()
		close(first.released)
		first.send(t, tunnel.KindHello, hello.Encode())
		first.end()

		second := s.joinManualPeer()
		hello.Peer = second.hello.Incarnation
		second.send(t, tunnel.KindHello, hello.Encode())
		second.send(t, tunnel.KindAck, tunnel.Ack{{Lane: tunnel.EndpointLane(1, 1), Next: 11}}.Encode())
		if s.from.cost != 0 {
			t.Errorf("a cost of %d was acknowledged before the link is ready", s.from.cost)
		}
		close(second.released)
		synctest.Wait()
		if s.from.cost != 100 {
			t.Errorf("a cost of %d was acknowledged, want 100", s.from.cost)
		}
		second.end()
	})
}
