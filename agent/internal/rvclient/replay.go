package rvclient

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of the replay window.
const (
	maxSenders = 1024 // whose envelopes are remembered
	maxNonces  = 512  // of one sender
)

// window remembers which envelopes have been opened. It does not trust the
// clock, which the rendezvous tells: of each sender nothing passes that is
// older than the newest one seen by more than the freshness of an envelope, and
// whatever is younger is remembered by its nonce. What does not fit raises the
// floor below which nothing passes. That holds for the senders heard last; who
// is forgotten is checked by the clock alone. It is owned by one goroutine.
type window struct {
	senders map[ident.PeerID]*seen
}

// seen is what is remembered of one sender.
type seen struct {
	nonces map[signal.EnvelopeNonce]time.Time
	newest time.Time
	floor  time.Time // what is not younger has been seen, or is too old
}

func newWindow() *window { return &window{senders: map[ident.PeerID]*seen{}} }

// fresh reports whether the envelope has not been seen, and remembers it.
func (w *window) fresh(e signal.Envelope) bool {
	s := w.senders[e.From]
	if s == nil {
		if len(w.senders) >= maxSenders {
			w.forgetOldest()
		}
		s = &seen{nonces: map[signal.EnvelopeNonce]time.Time{}}
		w.senders[e.From] = s
	}
	if _, known := s.nonces[e.Nonce]; known || !e.Time.After(s.floor) {
		return false
	}
	s.nonces[e.Nonce] = e.Time
	if e.Time.After(s.newest) {
		s.newest = e.Time
		s.raise(e.Time.Add(-signal.EnvelopeFresh))
	}
	for len(s.nonces) > maxNonces {
		s.raise(s.oldest())
	}
	return true
}

// raise lifts the floor and forgets what lies on or below it.
func (s *seen) raise(floor time.Time) {
	if !floor.After(s.floor) {
		return
	}
	s.floor = floor
	for nonce, at := range s.nonces {
		if !at.After(floor) {
			delete(s.nonces, nonce)
		}
	}
}

func (s *seen) oldest() time.Time {
	oldest := s.newest
	for _, at := range s.nonces {
		if at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// forgetOldest drops the sender that has been silent longest.
func (w *window) forgetOldest() {
	var oldest ident.PeerID
	var when time.Time
	for id, s := range w.senders {
		if when.IsZero() || s.newest.Before(when) {
			oldest, when = id, s.newest
		}
	}
	delete(w.senders, oldest)
}
