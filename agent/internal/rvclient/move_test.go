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
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// scriptedServer is a rendezvous whose messages the test sends. It accepts
// signalling connections only: REST calls fail.
type scriptedServer struct {
	link   string
	opened chan *serverConn
	reject atomic.Bool // close new connections without a Welcome
}

// serverConn is the rendezvous's side of a signalling connection.
type serverConn struct {
	t        *testing.T
	conn     *tls.Conn
	received chan signal.FromPeer // messages of the agent except pings; closed when the connection ends
}

func newScriptedServer(t *testing.T) *scriptedServer {
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
	s := &scriptedServer{
		link:   "https://" + listener.Addr().String() + "/#pin=" + ident.PinOf(leaf).String(),
		opened: make(chan *serverConn, 16),
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			running.Go(func() { s.serve(t, conn.(*tls.Conn)) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return s
}

// serve authenticates an agent and receives its messages.
func (s *scriptedServer) serve(t *testing.T, conn *tls.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waittest.Timeout))
	if conn.Handshake() != nil {
		return // a REST call: it offers another ALPN protocol
	}
	p := &serverConn{t: t, conn: conn, received: make(chan signal.FromPeer, 16)}
	defer close(p.received)
	in := signal.NewReader(conn)
	challenge := signal.Challenge{Time: time.Now().Truncate(time.Millisecond)}
	rand.Read(challenge.Nonce[:])
	p.send(challenge)
	if hello, err := in.FromPeer(); err != nil {
		t.Errorf("first message %#v: %v", hello, err)
		return
	}
	if s.reject.Load() {
		s.opened <- p
		return
	}
	in.Greeted()
	p.send(signal.Welcome{Idle: signal.IdleTimeout})
	s.opened <- p
	for {
		m, err := in.FromPeer()
		if err != nil {
			return
		}
		if _, ping := m.(signal.Ping); !ping {
			p.received <- m
		}
	}
}

// next returns the next connection of an agent.
func (s *scriptedServer) next(t *testing.T) *serverConn {
	t.Helper()
	timeout := time.NewTimer(waittest.Timeout)
	defer timeout.Stop()
	select {
	case p := <-s.opened:
		t.Cleanup(func() { p.conn.Close() })
		return p
	case <-timeout.C:
		t.Fatal("no agent connects")
		return nil
	}
}

func (p *serverConn) send(m signal.FromRendezvous) {
	if _, err := p.conn.Write(signal.AppendFromRendezvous(nil, m)); err != nil {
		p.t.Error(err)
	}
}

// receive returns the next message that the agent sends on one of the connections,
// and that connection.
func receive(t *testing.T, one, other *serverConn) (*serverConn, signal.FromPeer) {
	t.Helper()
	timeout := time.NewTimer(waittest.Timeout)
	defer timeout.Stop()
	var at *serverConn
	var m signal.FromPeer
	var open bool
	select {
	case m, open = <-one.received:
		at = one
	case m, open = <-other.received:
		at = other
	case <-timeout.C:
		t.Fatal("the agent sends no message")
	}
	if !open {
		t.Fatal("the agent closed the connection")
	}
	return at, m
}

// TestAgentStaysConnectedDuringMove asks an agent to move to another instance.
// Meanwhile the first connection still works: the rendezvous answers messages sent
// before and delivers others, and the state never becomes "not connected".
func TestAgentStaysConnectedDuringMove(t *testing.T) {
	s := newScriptedServer(t)
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
	_, before := receive(t, old, old)
	old.send(signal.Move{})
	successor := s.next(t)
	for at := old; at == old; {
		var m signal.FromPeer
		second := send()
		at, m = receive(t, old, successor)
		at.send(signal.Sent{ID: m.(signal.Send).ID})
		if err := <-second; err != nil {
			t.Fatal(err)
		}
	}
	old.send(signal.Sent{ID: before.(signal.Send).ID})
	if err := <-first; err != nil {
		t.Errorf("message sent before the move: %v", err)
	}
	envelope, err := signal.Seal(other, a.id, []byte("late"), time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old.send(signal.Deliver{Number: 7, From: other.ID(), Body: envelope})
	if _, m := receive(t, old, old); m != (signal.Got{Number: 7}) {
		t.Errorf("the agent answers a late message with %#v", m)
	}
	a.expect(t, other.ID().Short()+" late")
	old.send(signal.Bye{Code: signal.ByeReplaced, Text: "connected to another instance"})
	for m := range old.received {
		t.Errorf("message on the old connection after its Bye: %#v", m)
	}
	if state := a.State(); !state.Connected {
		t.Errorf("the state is %+v", state)
	}
	for len(a.states) > 0 {
		if state := <-a.states; !state.Connected {
			t.Errorf("the state during the move was %+v", state)
		}
	}
}

// TestFailedMoveIsRetriedSoon ends the connection to the second instance before
// its Welcome, and then the first one as replaced. The agent must reconnect soon:
// it must not assume that another agent has its key.
func TestFailedMoveIsRetriedSoon(t *testing.T) {
	s := newScriptedServer(t)
	a := join(t, s.link, 1)
	old := s.next(t)
	a.connected(t)
	s.reject.Store(true)
	old.send(signal.Move{})
	s.next(t)
	old.send(signal.Bye{Code: signal.ByeReplaced, Text: "connected to another instance"})
	a.await(t, "not connected", func(s rvclient.State) bool { return !s.Connected })
	s.reject.Store(false)
	a.connected(t)
}

func TestAgentStopsDuringMove(t *testing.T) {
	s := newScriptedServer(t)
	a := join(t, s.link, 1)
	old := s.next(t)
	a.connected(t)
	s.reject.Store(true)
	old.send(signal.Move{})
	s.next(t)
	a.stop()
	for range old.received {
		// wait for the end of the connection
	}
}
