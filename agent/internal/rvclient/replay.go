package rvclient

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// Bounds of the replay window.
const (
	maxSenders = 1024 // senders that are remembered
	maxNonces  = 512  // nonces that are remembered of one sender
)

// window rejects envelopes that have been opened before. signal.Open checks the
// age of an envelope by the clock of the rendezvous, which the window does not
// trust. It compares the times of the same sender's envelopes with each other:
// it rejects envelopes that are older than the newest one by more than
// signal.EnvelopeFresh, and remembers the nonces of all others. If a sender has
// more than maxNonces, the window forgets the oldest and rejects all envelopes
// that are not newer than those.
//
// If there are more than maxSenders senders, the window forgets the one whose
// newest envelope is the oldest. Only the clock then protects from its replays.
//
// A window may be used by only one goroutine at a time.
type window struct {
	senders map[ident.PeerID]*history
}

// history holds the remembered envelopes of one sender.
type history struct {
	nonces map[signal.EnvelopeNonce]time.Time
	newest time.Time
	floor  time.Time // envelopes with this time or an earlier one are rejected
}

func newWindow() *window { return &window{senders: map[ident.PeerID]*history{}} }

// fresh remembers the envelope and returns true if it may be opened. It returns
// false if the envelope was, or may have been, opened before.
func (w *window) fresh(e signal.Envelope) bool {
	s := w.senders[e.From]
	if s == nil {
		if len(w.senders) >= maxSenders {
			w.forgetOldest()
		}
		s = &history{nonces: map[signal.EnvelopeNonce]time.Time{}}
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

// raise raises the floor and forgets the nonces at or below it.
func (s *history) raise(floor time.Time) {
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

func (s *history) oldest() time.Time {
	oldest := s.newest
	for _, at := range s.nonces {
		if at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// forgetOldest forgets the sender whose newest envelope is the oldest.
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
