package rvclient_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// stage is a rendezvous whose instances the test plays: it gets each signalling
// connection that an agent opens. Its REST interface never answers.
type stage struct {
	link    string
	entered chan *part
	cut     atomic.Bool // whoever comes is cut off without a Welcome
}

// part is one connection, welcomed, at the rendezvous's end.
type part struct {
	t     *testing.T
	conn  *tls.Conn
	heard chan signal.FromPeer // but for pings; closed at the end
}

func newStage(t *testing.T) *stage {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := key.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{signal.ALPN}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{link: "https://" + listener.Addr().String() + "/#pin=" + ident.PinOf(leaf).String(), entered: make(chan *part, 16)}
	var playing sync.WaitGroup
	playing.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			playing.Go(func() { s.enter(t, conn.(*tls.Conn)) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		playing.Wait()
	})
	return s
}

// enter challenges whoever has connected, welcomes it and hears what it says.
func (s *stage) enter(t *testing.T, conn *tls.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if conn.Handshake() != nil {
		return // it asks for the REST interface
	}
	p := &part{t: t, conn: conn, heard: make(chan signal.FromPeer, 16)}
	defer close(p.heard)
	in := signal.NewReader(conn)
	challenge := signal.Challenge{Time: time.Now().Truncate(time.Millisecond)}
	rand.Read(challenge.Nonce[:])
	p.say(challenge)
	if hello, err := in.FromPeer(); err != nil {
		t.Errorf("an agent came with %#v: %v", hello, err)
		return
	}
	if s.cut.Load() {
		s.entered <- p
		return
	}
	in.Greeted()
	p.say(signal.Welcome{Idle: signal.IdleTimeout})
	s.entered <- p
	for {
		m, err := in.FromPeer()
		if err != nil {
			return
		}
		if _, ping := m.(signal.Ping); !ping {
			p.heard <- m
		}
	}
}

// next is the next connection that an agent opens.
func (s *stage) next(t *testing.T) *part {
	t.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case p := <-s.entered:
		t.Cleanup(func() { p.conn.Close() })
		return p
	case <-over.C:
		t.Fatal("no agent connects")
		return nil
	}
}

func (p *part) say(m signal.FromRendezvous) {
	if _, err := p.conn.Write(signal.AppendFromRendezvous(nil, m)); err != nil {
		p.t.Error(err)
	}
}

// hear is the next message that the agent sends on one of the connections, and on
// which.
func hear(t *testing.T, one, other *part) (*part, signal.FromPeer) {
	t.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	var at *part
	var m signal.FromPeer
	var open bool
	select {
	case m, open = <-one.heard:
		at = one
	case m, open = <-other.heard:
		at = other
	case <-over.C:
		t.Fatal("the agent says nothing")
	}
	if !open {
		t.Fatal("the agent has hung up")
	}
	return at, m
}

// TestAMoveLeavesNoMomentWithoutAConnection: told to move, an agent connects to
// another instance, and stays on the first connection meanwhile: what it has sent
// there is answered, what comes there is taken, and never is it not connected.
func TestAMoveLeavesNoMomentWithoutAConnection(t *testing.T) {
	s := newStage(t)
	a := join(t, s.link, 1)
	old := s.next(t)
	a.connected(t)
	other, err := ident.KeyFromSeed(bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	send := func() <-chan error {
		done := make(chan error, 1)
		go func() { done <- a.Send(context.Background(), other.ID(), []byte("hello")) }()
		return done
	}

	first := send()
	_, before := hear(t, old, old)
	old.say(signal.Move{})
	fresh := s.next(t)
	for at := old; at == old; {
		var m signal.FromPeer
		second := send()
		at, m = hear(t, old, fresh)
		at.say(signal.Sent{ID: m.(signal.Send).ID})
		if err := <-second; err != nil {
			t.Fatal(err)
		}
	}
	old.say(signal.Sent{ID: before.(signal.Send).ID})
	if err := <-first; err != nil {
		t.Errorf("what was sent before the move: %v", err)
	}
	envelope, err := signal.Seal(other, a.id, []byte("late"), time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old.say(signal.Deliver{Number: 7, From: other.ID(), Body: envelope})
	if _, m := hear(t, old, old); m != (signal.Got{Number: 7}) {
		t.Errorf("for what came late the agent says %#v", m)
	}
	a.expect(t, other.ID().Short()+" late")
	old.say(signal.Bye{Code: signal.ByeReplaced, Text: "it is elsewhere"})
	for m := range old.heard {
		t.Errorf("after its end the old connection says %#v", m)
	}
	if state := a.State(); !state.Connected {
		t.Errorf("the state is %+v", state)
	}
	for len(a.states) > 0 {
		if state := <-a.states; !state.Connected {
			t.Errorf("meanwhile the state was %+v", state)
		}
	}
}

// TestAMoveThatFailsIsTriedAgain: an agent that was heard by another instance and
// lost the way there, and is ended by the first for being elsewhere, comes back
// soon. No other agent has its key.
func TestAMoveThatFailsIsTriedAgain(t *testing.T) {
	s := newStage(t)
	a := join(t, s.link, 1)
	old := s.next(t)
	a.connected(t)
	s.cut.Store(true)
	old.say(signal.Move{})
	s.next(t)
	old.say(signal.Bye{Code: signal.ByeReplaced, Text: "it is elsewhere"})
	a.await(t, "not connected", func(s rvclient.State) bool { return !s.Connected })
	s.cut.Store(false)
	a.connected(t)
}

// TestAnAgentStopsWhileItMoves.
func TestAnAgentStopsWhileItMoves(t *testing.T) {
	s := newStage(t)
	a := join(t, s.link, 1)
	old := s.next(t)
	a.connected(t)
	s.cut.Store(true)
	old.say(signal.Move{})
	s.next(t)
	a.stop()
	for range old.heard {
		// until it has hung up
	}
}
