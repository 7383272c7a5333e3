package hub

import (
	"crypto/tls"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestTheNewestConnectionOfAPeerWins(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a, old := s.connect(t, alice), s.connect(t, bob)
	fresh := s.connect(t, bob)
	if code := old.bye(); code != signal.ByeReplaced {
		t.Errorf("the older connection ended with %d", code)
	}
	if n := s.Count(); n != 2 {
		t.Errorf("%d peers", n)
	}
	a.write(signal.Send{ID: 1, To: bob.ID()})
	fresh.expect(signal.Deliver{Number: 1, From: alice.ID(), Body: []byte{}})
}

func TestWhoMayNotConnectHearsWhy(t *testing.T) {
	s := start(t)
	for want, refusal := range map[signal.ByeCode]error{
		signal.ByeNotRegistered: ErrUnknown,
		signal.ByeRevoked:       ErrRevoked,
		signal.ByeUnavailable:   errors.New("the database is gone"),
	} {
		k := key(t, byte(want))
		s.book.change(func() { s.book.refused[k.ID()] = refusal })
		if code := s.dial(t, k).bye(); code != want {
			t.Errorf("%v: Bye %d, want %d", refusal, code, want)
		}
	}
}

func TestAHelloOfAnotherConnectionIsRefused(t *testing.T) {
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
	two.SetDeadline(time.Now().Add(patience))
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
		t.Error("it is online")
	}
}

func TestARevokedPeerIsSentAway(t *testing.T) {
	s := start(t)
	alice := key(t, 1)
	a := s.connect(t, alice)
	s.Revoke(alice.ID())
	if code := a.bye(); code != signal.ByeRevoked {
		t.Errorf("Bye %d", code)
	}
	waittest.Until(t, "she is gone", func() bool { return s.Count() == 0 })
}

// TestWhoIsSentAwayAndStaysSaysNothingMore: one who does not hang up at the Bye
// reaches nobody, and is cut off however much it still says.
func TestWhoIsSentAwayAndStaysSaysNothingMore(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	b.expect(signal.Deliver{Number: 1, From: alice.ID()})
	b.write(signal.Got{Number: 1})
	a.expect(signal.Sent{ID: 1})
	s.Revoke(alice.ID())
	if code := a.bye(); code != signal.ByeRevoked {
		t.Errorf("Bye %d", code)
	}
	every := time.NewTicker(byeTimeout / 20)
	defer every.Stop()
	for id := uint32(2); ; id++ { // until the agent's deadline, at the latest
		_, err := a.conn.Write(signal.AppendFromPeer(nil, signal.Send{ID: id, To: bob.ID()}))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("she may stay for ever")
		} else if err != nil {
			break
		}
		<-every.C
	}
	b.write(signal.Ping{})
	b.expect(signal.Pong{}) // and nothing of hers before
}

func TestABrokenFrameEndsTheConnectionWithAReason(t *testing.T) {
	s := start(t)
	a := s.connect(t, key(t, 1))
	a.conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 18})
	if code := a.bye(); code != signal.ByeProtocol {
		t.Errorf("Bye %d", code)
	}
}
