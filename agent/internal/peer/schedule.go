package peer

import "time"

// Timeouts and intervals of calls.
const (
	callTimeout          = 15 * time.Second // a call, from the offer to the last chance of a better link
	retryFirstInterval   = 500 * time.Millisecond
	retryMaxInterval     = 4 * time.Second
	yieldTimeout         = 1500 * time.Millisecond // the peer with the higher ID lets the other one call first
	upgradeFirstInterval = 30 * time.Second        // from a link that is not the best to a call for a better one
	upgradeMaxInterval   = 10 * time.Minute
	// settleTimeout is the time in which the link of a successful call must become
	// the active link of the session. After it, another call may be due.
	settleTimeout = 3 * time.Second
)

// dueCall is a kind of call.
type dueCall int

const (
	callNone    dueCall = iota
	callAny             // a call for any link
	callUpgrade         // a call for a better link than the active one
)

// schedule decides when a call is due. It starts no timer: the caller passes the
// time.
type schedule struct {
	linked    bool
	retry     time.Duration // the interval after the last failed call; 0: none failed
	retryAt   time.Time
	upgrade   time.Duration // the interval to the next call for a better link
	upgradeAt time.Time
}

// linkUp notes that a link is up.
func (s *schedule) linkUp(now time.Time) {
	s.linked, s.retry = true, 0
	s.upgrade = upgradeFirstInterval
	s.upgradeAt = now.Add(s.upgrade)
}

// linkLost notes that the last link was lost. If both peers called at the same
// time, one call would be wasted: the peer that does not go first waits.
func (s *schedule) linkLost(now time.Time, goesFirst bool) {
	s.linked, s.retryAt = false, now
	if !goesFirst {
		s.retryAt = now.Add(yieldTimeout)
	}
}

// callSucceeded notes that a call made a link.
func (s *schedule) callSucceeded(now time.Time) { s.retryAt = now.Add(settleTimeout) }

// callFailed notes that a call made no link.
func (s *schedule) callFailed(now time.Time) {
	s.retry = min(max(2*s.retry, retryFirstInterval), retryMaxInterval)
	s.retryAt = now.Add(s.retry)
}

// retryNow makes a call for any link due.
func (s *schedule) retryNow(now time.Time) { s.retry, s.retryAt = 0, now }

// due returns the call that is due. For an upgrade it also sets the time of the
// next one.
func (s *schedule) due(now time.Time) dueCall {
	switch {
	case !s.linked && !now.Before(s.retryAt):
		return callAny
	case s.linked && !now.Before(s.upgradeAt):
		s.upgrade = min(2*s.upgrade, upgradeMaxInterval)
		s.upgradeAt = now.Add(s.upgrade)
		return callUpgrade
	}
	return callNone
}

// wait returns the time until a call is due.
func (s *schedule) wait(now time.Time) time.Duration {
	at := s.retryAt
	if s.linked {
		at = s.upgradeAt
	}
	return max(0, at.Sub(now))
}
