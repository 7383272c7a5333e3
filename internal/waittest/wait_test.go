package waittest

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsUntilConditionHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, calls := time.Now(), 0
		Until(t, "the condition is evaluated four times", func() bool { calls++; return calls == 4 })
		if took := time.Since(start); calls != 4 || took != 3*interval {
			t.Errorf("%d calls in %v, want 4 in %v", calls, took, 3*interval)
		}
	})
}

func TestGivesUpAfterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if Eventually(func() bool { return false }) {
			t.Error("Eventually reports true for a condition that is always false")
		}
		if took := time.Since(start); took < Timeout || took > Timeout+interval {
			t.Errorf("gave up after %v, want %v", took, Timeout)
		}
	})
}
