package hub

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestSentMeansConfirmed(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 7, To: bob.ID(), Body: []byte("offer")})
	b.expect(signal.Deliver{Number: 1, From: alice.ID(), Body: []byte("offer")})
	a.write(signal.Ping{Token: [8]byte{1}})
	a.expect(signal.Pong{Token: [8]byte{1}}) // no Sent before the confirmation
	b.write(signal.Got{Number: 1})
	a.expect(signal.Sent{ID: 7})
	b.write(signal.Got{Number: 1}) // a second confirmation and an unknown one change nothing
	b.write(signal.Got{Number: 99})
	b.write(signal.Ping{})
	b.expect(signal.Pong{})
}

func TestUndeliverableMessageFails(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	a := s.connect(t, alice)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	a.expect(signal.SendFailed{ID: 1, Code: signal.FailureNotAllowed})
	s.allow(alice, bob)
	a.write(signal.Send{ID: 2, To: bob.ID()})
	a.expect(signal.SendFailed{ID: 2, Code: signal.FailureOffline})
	a.write(signal.Send{ID: 3, To: alice.ID()})
	a.expect(signal.SendFailed{ID: 3, Code: signal.FailureNotAllowed})
	s.registry.change(func() { s.registry.failing = errors.New("the database is gone") })
	a.write(signal.Send{ID: 4, To: key(t, 3).ID()})
	a.expect(signal.SendFailed{ID: 4, Code: signal.FailureUnavailable})
	a.write(signal.Send{ID: 5, To: bob.ID()}) // the consent is cached
	a.expect(signal.SendFailed{ID: 5, Code: signal.FailureOffline})
}

func TestUnconfirmedMessageFailsWhenTheConnectionEnds(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	b.read()
	b.conn.NetConn().Close()
	a.expect(signal.SendFailed{ID: 1, Code: signal.FailureUnconfirmed})
	waittest.Until(t, "bob is absent", func() bool { return !s.Online(bob.ID()) })
}

func TestWithdrawnConsentCountsWithinSeconds(t *testing.T) {
	var passed atomic.Int64
	s := startAt(t, func() time.Time { return time.Now().Add(time.Duration(passed.Load())) })
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a := s.connect(t, alice)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	a.expect(signal.SendFailed{ID: 1, Code: signal.FailureOffline})
	s.registry.change(func() { clear(s.registry.allowed) })
	passed.Store(int64(consentTTL))
	a.write(signal.Send{ID: 2, To: bob.ID()})
	a.expect(signal.SendFailed{ID: 2, Code: signal.FailureNotAllowed})
}

// TestHangingRegistryDelaysNoKnownPeer checks that messages to known peers arrive while the registry hangs, that
// pings are answered, and that a message to an unknown peer fails and delays nothing else.
func TestHangingRegistryDelaysNoKnownPeer(t *testing.T) {
	t.Parallel() // waits for a timeout
	var passed atomic.Int64
	s := startAt(t, func() time.Time { return time.Now().Add(time.Duration(passed.Load())) })
	alice, bob, carol := key(t, 1), key(t, 2), key(t, 3)
	s.allow(alice, bob)
	a, b := s.connect(t, alice), s.connect(t, bob)
	a.write(signal.Send{ID: 1, To: bob.ID()})
	b.expect(signal.Deliver{Number: 1, From: alice.ID()})
	b.write(signal.Got{Number: 1})
	a.expect(signal.Sent{ID: 1})
	release := s.registry.hang()
	passed.Store(int64(consentTTL)) // the consent is stale
	a.write(signal.Send{ID: 2, To: carol.ID()})
	for n := range uint32(3) {
		a.write(signal.Send{ID: 3 + n, To: bob.ID(), Body: []byte{byte(n)}})
	}
	a.write(signal.Ping{Token: [8]byte{1}})
	a.expect(signal.Pong{Token: [8]byte{1}})
	for n := range uint32(3) {
		b.expect(signal.Deliver{Number: 2 + n, From: alice.ID(), Body: []byte{byte(n)}})
		b.write(signal.Got{Number: 2 + n})
		a.expect(signal.Sent{ID: 3 + n})
	}
	a.expect(signal.SendFailed{ID: 2, Code: signal.FailureUnavailable})
	release()
}
