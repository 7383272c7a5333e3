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

func TestAnEnvelopePassesOnce(t *testing.T) {
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
			t.Errorf("%s: refused", name)
		}
		if w.fresh(c.envelope) {
			t.Errorf("%s: passed twice", name)
		}
	}
}

func TestAClockThatGoesBackLetsNothingPassAgain(t *testing.T) {
	w, now := newWindow(), time.UnixMilli(1_700_000_000_000)
	old := envelope(1, now, 1)
	w.fresh(old)
	w.fresh(envelope(1, now.Add(10*time.Minute), 2))
	if w.fresh(old) {
		t.Error("an envelope passed again after its nonce was forgotten")
	}
}

// TestNoEnvelopePassesTwice: whatever comes in whatever order, and however
// much, nothing passes a second time, and memory is bounded.
func TestNoEnvelopePassesTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, base := newWindow(), time.UnixMilli(1_700_000_000_000)
		passed := map[signal.EnvelopeNonce]bool{}
		for range rapid.IntRange(1, 2*maxNonces).Draw(t, "messages") {
			at := base.Add(time.Duration(rapid.IntRange(0, 600_000).Draw(t, "at")) * time.Millisecond)
			e := envelope(1, at, uint64(at.UnixMilli()))
			if w.fresh(e) {
				if passed[e.Nonce] {
					t.Fatalf("%v passed twice", e)
				}
				passed[e.Nonce] = true
			}
			if n := len(w.senders[e.From].nonces); n > maxNonces {
				t.Fatalf("%d nonces are kept", n)
			}
		}
	})
}

func TestManySendersAreBounded(t *testing.T) {
	w, now := newWindow(), time.UnixMilli(1_700_000_000_000)
	for i := range uint64(2 * maxSenders) {
		e := envelope(0, now.Add(time.Duration(i)*time.Second), i)
		binary.BigEndian.PutUint64(e.From[:], i)
		w.fresh(e)
	}
	if n := len(w.senders); n > maxSenders {
		t.Errorf("%d senders are kept", n)
	}
}
