package rvclient

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

func envelope(from byte, at time.Time, nonce uint64) signal.Envelope {
	e := signal.Envelope{From: ident.PeerID{from}, Time: at}
	binary.BigEndian.PutUint64(e.Nonce[:], nonce)
	return e
}

func TestEnvelopeIsAcceptedOnce(t *testing.T) {
	w, now := newWindow(), time.UnixMilli(1_700_000_000_000)
	for name, c := range map[string]struct {
		envelope signal.Envelope
	}{
		"one":                  {envelope(1, now, 1)},
		"another nonce":        {envelope(1, now, 2)},
		"another sender":       {envelope(2, now, 1)},
		"a little older":       {envelope(1, now.Add(-time.Minute), 3)},
		"almost too old, once": {envelope(2, now.Add(-signal.EnvelopeFresh+time.Millisecond), 4)},
	} {
		if !w.fresh(c.envelope) {
			t.Errorf("%s: rejected", name)
		}
		if w.fresh(c.envelope) {
			t.Errorf("%s: accepted twice", name)
		}
	}
}

// TestReplayAfterClockStepIsRejected repeats an envelope after the clock of the
// rendezvous has moved forward by 10 minutes and back.
func TestReplayAfterClockStepIsRejected(t *testing.T) {
	w, now := newWindow(), time.UnixMilli(1_700_000_000_000)
	old := envelope(1, now, 1)
	w.fresh(old)
	w.fresh(envelope(1, now.Add(10*time.Minute), 2))
	if w.fresh(old) {
		t.Error("an envelope was accepted again after its nonce was forgotten")
	}
}

// TestNoEnvelopeIsAcceptedTwice checks random sequences of envelopes. No envelope
// may be accepted twice, and the number of remembered nonces must stay bounded.
func TestNoEnvelopeIsAcceptedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, base := newWindow(), time.UnixMilli(1_700_000_000_000)
		accepted := map[signal.EnvelopeNonce]bool{}
		for range rapid.IntRange(1, 2*maxNonces).Draw(t, "messages") {
			at := base.Add(time.Duration(rapid.IntRange(0, 600_000).Draw(t, "at")) * time.Millisecond)
			e := envelope(1, at, uint64(at.UnixMilli()))
			if w.fresh(e) {
				if accepted[e.Nonce] {
					t.Fatalf("%v was accepted twice", e)
				}
				accepted[e.Nonce] = true
			}
			if n := len(w.senders[e.From].nonces); n > maxNonces {
				t.Fatalf("%d nonces are remembered", n)
			}
		}
	})
}

func TestNumberOfSendersIsBounded(t *testing.T) {
	w, now := newWindow(), time.UnixMilli(1_700_000_000_000)
	for i := range uint64(2 * maxSenders) {
		e := envelope(0, now.Add(time.Duration(i)*time.Second), i)
		binary.BigEndian.PutUint64(e.From[:], i)
		w.fresh(e)
	}
	if n := len(w.senders); n > maxSenders {
		t.Errorf("%d senders are remembered", n)
	}
}
