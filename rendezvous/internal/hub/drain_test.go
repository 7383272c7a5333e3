package hub

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestDrainTellsEveryPeerAndTakesNobody(t *testing.T) {
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
	late.SetDeadline(time.Now().Add(patience))
	m, err := signal.NewReader(late).FromRendezvous()
	if bye, ok := m.(signal.Bye); err != nil || !ok || bye.Code != signal.ByeDraining {
		t.Errorf("a draining hub says %#v, %v", m, err)
	}
}

// TestDrainServesWhoMovesUntilItHasMoved: where there is another instance, a peer
// is asked to go there, sends and receives meanwhile, and hears the end once it
// has connected there.
func TestDrainServesWhoMovesUntilItHasMoved(t *testing.T) {
	s := startAs(t, time.Now, true)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
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
			t.Error("a peer that has moved is still found here")
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

// TestDrainEndsWithoutWhoDoesNotMove.
func TestDrainEndsWithoutWhoDoesNotMove(t *testing.T) {
	t.Parallel() // it takes moveWait
	s := startAs(t, time.Now, true)
	a := s.connect(t, key(t, 1))
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.Drain(context.Background()) }()
	a.expect(signal.Move{})
	if code := a.bye(); code != signal.ByeDraining {
		t.Errorf("Bye %d", code)
	}
	if took := time.Since(began); took < moveWait {
		t.Errorf("it had %s to move, want %s", took, moveWait)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDrainTakesWhatIsConfirmedMeanwhile: a peer that is told to go still
// confirms what it got before.
func TestDrainTakesWhatIsConfirmedMeanwhile(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	got := b.read().(signal.Deliver)
	b.session(t, s).bye(signal.ByeDraining, "go")
	if bye, ok := b.read().(signal.Bye); !ok || bye.Code != signal.ByeDraining {
		t.Errorf("bob got %#v", bye)
	}
	a.write(signal.Send{ID: 2, To: bob.ID()})
	a.expect(signal.SendFailed{ID: 2, Code: signal.FailureOffline})
	b.write(signal.Got{Number: got.Number})
	a.expect(signal.Sent{ID: 1})
}

// TestDrainCutsOffWhoStaysBesideWhoHasMoved: when there is no more time, the
// connections end of those that have moved and of those that have not.
func TestDrainCutsOffWhoStaysBesideWhoHasMoved(t *testing.T) {
	s := startAs(t, time.Now, true)
	alice, bob := key(t, 1), key(t, 2)
	a, b := s.connect(t, alice), s.connect(t, bob)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Drain(ctx) }()
	a.expect(signal.Move{})
	b.expect(signal.Move{})
	ended := a.session(t, s)
	ended.bye(signal.ByeReplaced, "it is elsewhere") // and does not hang up
	cancel()
	if err := <-done; err == nil {
		t.Error("nothing is said of those who did not leave")
	}
	for _, one := range []*agent{a, b} {
		for {
			if _, err := one.in.FromRendezvous(); err != nil {
				break
			}
		}
	}
}

// TestWhoComesWhileADrainBeginsIsToldSo: a peer that connected just before, and
// proves its key after.
func TestWhoComesWhileADrainBeginsIsToldSo(t *testing.T) {
	s := start(t)
	a, challenge := s.knock(t)
	done := make(chan error, 1)
	go func() { done <- s.Drain(context.Background()) }()
	waittest.Until(t, "the hub takes nobody any more", s.full)
	a.hello(key(t, 1), challenge)
	if code := a.bye(); code != signal.ByeDraining {
		t.Errorf("Bye %d", code)
	}
	a.conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
