// Package waittest waits in tests for the effects of another goroutine or
// process that reports no event to wait for.
package waittest

import (
	"context"
	"testing"
	"time"
)

// Timeout bounds a wait for something that should happen at once. It is
// generous so that it also holds on a loaded machine. No test measures it.
const Timeout = 30 * time.Second

// interval is the time between two evaluations of a condition.
const interval = 5 * time.Millisecond

// Until evaluates the condition repeatedly until it is true. The test fails if
// the condition, which what describes, is still false after Timeout.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !Eventually(condition) {
		t.Fatalf("not within %v: %s", Timeout, what)
	}
}

// Eventually evaluates the condition repeatedly until it is true, and reports
// whether that happened within Timeout. It serves tests that print more than a
// description when they fail.
func Eventually(condition func() bool) bool {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	deadline := time.Now().Add(Timeout)
	for !condition() {
		if now := <-tick.C; now.After(deadline) {
			return false
		}
	}
	return true
}

// Receive returns the next value from a channel. The test fails if what, which
// describes the value, does not arrive within Timeout.
func Receive[T any](t testing.TB, what string, values <-chan T) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	select {
	case v := <-values:
		return v
	case <-ctx.Done():
		t.Fatalf("not within %v: %s", Timeout, what)
		panic("unreachable")
	}
}
