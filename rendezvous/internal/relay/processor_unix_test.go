//go:build unix

package relay

import (
	"syscall"
	"testing"
	"time"
)

// processorTime is what this process uses in a while.
func processorTime(t *testing.T, while time.Duration) time.Duration {
	t.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	<-time.After(while)
	return used() - before
}
