package waittest

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsUntilItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, asked := time.Now(), 0
		Until(t, "the fourth question", func() bool { asked++; return asked == 4 })
		if took := time.Since(start); asked != 4 || took != 3*every {
			t.Errorf("%d questions in %v, want 4 in %v", asked, took, 3*every)
		}
	})
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if Comes(func() bool { return false }) {
			t.Error("what never is has come")
		}
		if took := time.Since(start); took < Patience || took > Patience+every {
			t.Errorf("it gave up after %v, want %v", took, Patience)
		}
	})
}
