// Package waittest lets a test wait for what another goroutine or another
// process brings about, where nothing tells the test that it has come.
package waittest

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what ought to come at once. It is an
// alarm, not a figure that anything is held to.
const Patience = 30 * time.Second

// every is the time between two questions.
const every = 5 * time.Millisecond

// Until asks until the answer is yes. Where it is still no after Patience, the
// test fails.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	if !Comes(is) {
		t.Fatalf("never: %s", what)
	}
}

// Comes asks until the answer is yes, and reports whether it was so within
// Patience: for tests that fail with more than a name.
func Comes(is func() bool) bool {
	tick := time.NewTicker(every)
	defer tick.Stop()
	over := time.NewTimer(Patience)
	defer over.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-over.C:
			return false
		}
	}
	return true
}
