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

func TestPeerWithManyUnconfirmedMessagesIsBusy(t *testing.T) {
	s := start(t)
	alice, bob := key(t, 1), key(t, 2)
	s.allow(alice, bob)
	a := s.connect(t, alice)
	s.connect(t, bob) // bob never confirms
	for id := range uint32(maxUnconfirmed + 1) {
		a.write(signal.Send{ID: id, To: bob.ID()})
	}
	a.expect(signal.SendFailed{ID: maxUnconfirmed, Code: signal.FailureBusy})
}

func TestFloodingPeerIsLimitedAndOthersAreNot(t *testing.T) {
	now := time.Now()
	s := startAt(t, func() time.Time { return now })
	alice, bob, carol := key(t, 1), key(t, 2), key(t, 3)
	s.allow(alice, bob)
	s.allow(carol, bob)
	a, b, c := s.connect(t, alice), s.connect(t, bob), s.connect(t, carol)
	for id := range uint32(2 * messageBurst) {
		a.write(signal.Send{ID: id, To: alice.ID()})
	}
	limited := 0
	for range 2 * messageBurst {
		if failed, ok := a.read().(signal.SendFailed); ok && failed.Code == signal.FailureRate {
			limited++
		}
	}
	if limited != messageBurst {
		t.Errorf("%d of %d messages were limited, want %d", limited, 2*messageBurst, messageBurst)
	}
	c.write(signal.Send{ID: 1, To: bob.ID(), Body: []byte("hello")})
	b.expect(signal.Deliver{Number: 1, From: carol.ID(), Body: []byte("hello")})
}

// TestFastSenderLosesNoAnswer has a peer that sends much before it reads the first answer. It loses neither the
// connection nor an answer.
func TestFastSenderLosesNoAnswer(t *testing.T) {
	s := start(t)
	a := s.connect(t, key(t, 1))
	a.conn.SetDeadline(time.Now().Add(4 * waittest.Timeout))
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
	c := a.connection(t, s)
	waittest.Until(t, "the queue of answers is full", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.queue) >= maxAnswers
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

func TestPeerThatNeverReadsIsCutOff(t *testing.T) {
	t.Parallel() // takes writeTimeout
	s := start(t)
	alice := key(t, 1)
	a := s.connect(t, alice)
	pings := bytes.Repeat(signal.AppendFromPeer(nil, signal.Ping{}), 4096)
	a.conn.SetDeadline(time.Now().Add(writeTimeout + waittest.Timeout))
	for {
		if _, err := a.conn.Write(pings); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the peer may send for ever")
		} else if err != nil {
			break
		}
	}
	waittest.Until(t, "the peer is absent", func() bool { return !s.Online(alice.ID()) })
}
