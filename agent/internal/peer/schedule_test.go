package peer

import (
	"testing"
	"time"
)

var start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func TestFailedCallsAreRepeatedLessOften(t *testing.T) {
	var s schedule
	now := start
	for i, want := range []time.Duration{
		500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second,
	} {
		if got := s.due(now); got != callAny {
			t.Fatalf("call %d: due = %v, want callAny", i+1, got)
		}
		s.callFailed(now)
		if got := s.wait(now); got != want {
			t.Errorf("after %d failed calls the next is due in %v, want %v", i+1, got, want)
		}
		if got := s.due(now.Add(want - 1)); got != callNone {
			t.Errorf("a call is due before its time: %v", got)
		}
		now = now.Add(want)
	}
	s.retryNow(now)
	s.callFailed(now)
	if got := s.wait(now); got != retryFirstInterval {
		t.Errorf("after a retry on request the next call is due in %v, want %v", got, retryFirstInterval)
	}
}

func TestLostLinkIsCalledForInTurn(t *testing.T) {
	for goesFirst, want := range map[bool]time.Duration{true: 0, false: yieldTimeout} {
		var s schedule
		s.linkUp(start)
		s.linkLost(start, goesFirst)
		if got := s.wait(start); got != want {
			t.Errorf("goesFirst %v: a call is due in %v, want %v", goesFirst, got, want)
		}
	}
}

func TestBetterLinkIsTriedForLessAndLessOften(t *testing.T) {
	var s schedule
	s.linkUp(start)
	now := start
	for _, want := range []time.Duration{
		30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute,
		upgradeMaxInterval, upgradeMaxInterval,
	} {
		if got := s.wait(now); got != want {
			t.Errorf("an upgrade is due in %v, want %v", got, want)
		}
		now = now.Add(want)
		if got := s.due(now); got != callUpgrade {
			t.Fatalf("due = %v, want callUpgrade", got)
		}
	}
}

func TestLinkOfSuccessfulCallHasTimeToComeUp(t *testing.T) {
	var s schedule
	s.callSucceeded(start)
	if got := s.due(start.Add(settleTimeout - 1)); got != callNone {
		t.Errorf("due = %v while the link comes up, want callNone", got)
	}
	if got := s.due(start.Add(settleTimeout)); got != callAny {
		t.Errorf("due = %v after settleTimeout without a link, want callAny", got)
	}
}
