package hub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func TestAPeerWithTooMuchUnconfirmedIsBusy(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(bob, alice)
	a := s.connect(t, alice)
	s.connect(t, bob) // it never confirms
	for id := range uint32(maxUnconfirmed + 1) {
		a.write(signal.Send{ID: id, To: bob.ID()})
	}
	a.expect(signal.SendFailed{ID: maxUnconfirmed, Code: signal.FailureBusy})
}

func TestAFloodingPeerIsLimitedAndOthersAreNot(t *testing.T) {
	s := start(t)
	alice, bob, carol := key(t, 1), key(t, 2), key(t, 3)
	s.allow(bob, alice)
	s.allow(bob, carol)
	a, b, c := s.connect(t, alice), s.connect(t, bob), s.connect(t, carol)
	for id := range uint32(2 * bucketSize) {
		a.write(signal.Send{ID: id, To: alice.ID()})
	}
	limited := 0
	for range int(2 * bucketSize) {
		if failed, ok := a.read().(signal.SendFailed); ok && failed.Code == signal.FailureRate {
			limited++
		}
	}
	if limited < bucketSize/2 {
		t.Errorf("%d of %d messages were limited", limited, int(2*bucketSize))
	}
	c.write(signal.Send{ID: 1, To: bob.ID(), Body: []byte("hello")})
	b.expect(signal.Deliver{Number: 1, From: carol.ID(), Body: []byte("hello")})
}

// TestAPeerThatSendsFasterThanItReadsIsWaitedFor: however much it sends before
// it takes the first answer, it loses neither the connection nor an answer.
func TestAPeerThatSendsFasterThanItReadsIsWaitedFor(t *testing.T) {
	s := start(t)
	a := s.connect(t, key(t, 1))
	const pings = 100_000
	var written sync.WaitGroup
	written.Go(func() {
		for n := range uint32(pings) {
			if _, err := a.conn.Write(signal.AppendFromPeer(nil, numbered(n))); err != nil {
				t.Errorf("ping %d: %v", n, err)
				return
			}
		}
	})
	side := a.session(t, s)
	waittest.Until(t, "the answers fill what the peer has room for", func() bool {
		side.mu.Lock()
		defer side.mu.Unlock()
		return len(side.queue) >= maxAnswers
	})
	for n := range uint32(pings) {
		a.expect(signal.Pong(numbered(n)))
	}
	written.Wait()
}

func numbered(n uint32) signal.Ping {
	var p signal.Ping
	binary.BigEndian.PutUint32(p.Token[:], n)
	return p
}

func TestAPeerThatSendsAndNeverReadsIsCutOff(t *testing.T) {
	t.Parallel() // it takes writeTimeout
	s := start(t)
	alice := key(t, 1)
	a := s.connect(t, alice)
	pings := bytes.Repeat(signal.AppendFromPeer(nil, signal.Ping{}), 4096)
	a.conn.SetDeadline(time.Now().Add(writeTimeout + patience))
	for {
		if _, err := a.conn.Write(pings); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("it may send for ever")
		} else if err != nil {
			break
		}
	}
	waittest.Until(t, "she is gone", func() bool { return !s.Online(alice.ID()) })
}
