package hub

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestNewestConnectionOfAPeerWins(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a, old := s.connect(t, alice), s.connect(t, bob)
	fresh := s.connect(t, bob)
	if code := old.bye(); code != signal.ByeReplaced {
		t.Errorf("the older connection ended with code %d, want 2", code)
	}
	if n := s.Count(); n != 2 {
		t.Errorf("%d peers are connected, want 2", n)
	}
	a.write(signal.Send{ID: 1, To: bob.ID()})
	fresh.expect(signal.Deliver{Number: 1, From: alice.ID(), Body: []byte{}})
}

func TestRefusedPeerGetsTheReason(t *testing.T) {
	s := start(t)
	for want, refusal := range map[signal.ByeCode]error{
		signal.ByeNotRegistered: ErrUnknown,
		signal.ByeRevoked:       ErrRevoked,
		signal.ByeUnavailable:   errors.New("the database is gone"),
	} {
		k := key(t, byte(want))
		s.registry.change(func() { s.registry.refused[k.ID()] = refusal })
		if code := s.dial(t, k).bye(); code != want {
			t.Errorf("%v: Bye %d, want %d", refusal, code, want)
		}
	}
}

func TestHelloOfAnotherConnectionIsRefused(t *testing.T) {
	s := start(t)
	alice := key(t, 1)
	one, err := tls.Dial("tcp", s.address, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := tls.Dial("tcp", s.address, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	two.SetDeadline(time.Now().Add(waittest.Timeout))
	in := signal.NewReader(two)
	challenge, err := in.FromRendezvous()
	if err != nil {
		t.Fatal(err)
	}
	bound, err := signal.BoundToTLS(one.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, conn: two, in: in}
	a.write(signal.NewHello(alice, challenge.(signal.Challenge), bound))
	if code := a.bye(); code != signal.ByeRefused {
		t.Errorf("Bye %d, want %d", code, signal.ByeRefused)
	}
	if s.Online(alice.ID()) {
		t.Error("the peer is online")
	}
}

func TestRevokedPeerIsDisconnected(t *testing.T) {
	s := start(t)
	alice := key(t, 1)
	a := s.connect(t, alice)
	s.Revoke(alice.ID())
	if code := a.bye(); code != signal.ByeRevoked {
		t.Errorf("Bye %d", code)
	}
	waittest.Until(t, "the peer is absent", func() bool { return s.Count() == 0 })
}

// TestRevokedPeerThatStaysIsCutOff has a revoked peer that does not close its connection and goes on sending. Its
// messages reach nobody, and the hub closes the connection.
func TestRevokedPeerThatStaysIsCutOff(t *testing.T) {
	t.Parallel() // waits for a timeout
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	b.expect(signal.Deliver{Number: 1, From: alice.ID()})
	b.write(signal.Got{Number: 1})
	a.expect(signal.Sent{ID: 1})
	s.Revoke(alice.ID())
	if code := a.bye(); code != signal.ByeRevoked {
		t.Errorf("Bye %d", code)
	}
	a.conn.SetDeadline(time.Now().Add(2 * waittest.Timeout))
	id := uint32(2)
	waittest.Until(t, "the hub closes the connection", func() bool {
		id++
		_, err := a.conn.Write(signal.AppendFromPeer(nil, signal.Send{ID: id, To: bob.ID()}))
		return err != nil
	})
	b.write(signal.Ping{})
	b.expect(signal.Pong{}) // and no message of the revoked peer before
}

func TestMalformedFrameEndsTheConnectionWithAReason(t *testing.T) {
	s := start(t)
	a := s.connect(t, key(t, 1))
	a.conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 18})
	if code := a.bye(); code != signal.ByeProtocol {
		t.Errorf("Bye %d", code)
	}
}
