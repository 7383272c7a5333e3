package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestDrainNotifiesPeersAndRefusesNewOnes(t *testing.T) {
	t.Parallel() // waits for a timeout
	s := start(t)
	a := s.connect(t, key(t, 1))
	done := make(chan error, 1)
	go func() { done <- s.Drain(context.Background()) }()
	if code := a.bye(); code != signal.ByeDraining {
		t.Errorf("Bye %d", code)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	late := tls.Client(conn, s.tls)
	late.SetDeadline(time.Now().Add(waittest.Timeout))
	m, err := signal.NewReader(late).FromRendezvous()
	if bye, ok := m.(signal.Bye); err != nil || !ok || bye.Code != signal.ByeDraining {
		t.Errorf("a draining hub sends %#v, %v, want a Bye", m, err)
	}
}

// TestDrainServesPeersUntilTheyHaveMoved has another instance. A peer is asked to move there, sends and receives
// meanwhile, and gets a Bye once it has connected there.
func TestDrainServesPeersUntilTheyHaveMoved(t *testing.T) {
	t.Parallel() // waits for a timeout
	s := startAs(t, time.Now, true)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a, b := s.connect(t, alice), s.connect(t, bob)
	done := make(chan error, 1)
	go func() { done <- s.Drain(context.Background()) }()
	a.expect(signal.Move{})
	b.expect(signal.Move{})
	a.write(signal.Send{ID: 1, To: bob.ID()})
	got := b.read().(signal.Deliver)
	b.write(signal.Got{Number: got.Number})
	a.expect(signal.Sent{ID: 1})
	for _, moved := range []struct {
		key ident.Key
		at  *agent
	}{{alice, a}, {bob, b}} {
		s.Moved(moved.key.ID(), time.Now().Add(time.Second))
		if s.Online(moved.key.ID()) {
			t.Error("a peer that has moved is still online here")
		}
		if code := moved.at.bye(); code != signal.ByeReplaced {
			t.Errorf("Bye %d", code)
		}
		moved.at.conn.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDrainEndsWithoutPeersThatDoNotMove has a peer that ignores the Move.
func TestDrainEndsWithoutPeersThatDoNotMove(t *testing.T) {
	t.Parallel() // takes moveTimeout
	s := startAs(t, time.Now, true)
	a := s.connect(t, key(t, 1))
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.Drain(context.Background()) }()
	a.expect(signal.Move{})
	if code := a.bye(); code != signal.ByeDraining {
		t.Errorf("Bye %d", code)
	}
	if took := time.Since(began); took < moveTimeout {
		t.Errorf("the peer had %s to move, want at least %s", took, moveTimeout)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestConfirmationAfterByeCounts has a peer that confirms a message after its Bye.
func TestConfirmationAfterByeCounts(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	got := b.read().(signal.Deliver)
	b.connection(t, s).bye(byeDraining)
	if bye, ok := b.read().(signal.Bye); !ok || bye.Code != signal.ByeDraining {
		t.Errorf("bob got %#v", bye)
	}
	a.write(signal.Send{ID: 2, To: bob.ID()})
	a.expect(signal.SendFailed{ID: 2, Code: signal.FailureOffline})
	b.write(signal.Got{Number: got.Number})
	a.expect(signal.Sent{ID: 1})
}

// TestDrainEndsConnectionsAfterItsTime has a peer that has moved and does not close its old connection, and one
// that has not moved.
func TestDrainEndsConnectionsAfterItsTime(t *testing.T) {
	t.Parallel() // waits for a timeout
	s := startAs(t, time.Now, true)
	alice, bob := key(t, 1), key(t, 2)
	a, b := s.connect(t, alice), s.connect(t, bob)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Drain(ctx) }()
	a.expect(signal.Move{})
	b.expect(signal.Move{})
	a.connection(t, s).bye(byeReplaced) // the agent does not close the connection
	cancel()
	// Drain and each connection give the peer the same time to close. Drain returns an
	// error if its time ends first.
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, one := range []*agent{a, b} {
		for {
			if _, err := one.in.FromRendezvous(); err != nil {
				break
			}
		}
	}
}

// TestPeerThatConnectsDuringDrainGetsBye has a peer that connects before the drain and sends its Hello after the
// beginning.
func TestPeerThatConnectsDuringDrainGetsBye(t *testing.T) {
	s := start(t)
	a, challenge := s.knock(t)
	done := make(chan error, 1)
	go func() { done <- s.Drain(context.Background()) }()
	waittest.Until(t, "the hub refuses new connections", s.full)
	a.hello(key(t, 1), challenge)
	if code := a.bye(); code != signal.ByeDraining {
		t.Errorf("Bye %d", code)
	}
	a.conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
