//go:build unix

package linktest

import (
	"syscall"
	"testing"
	"time"
)

// ProcessorTime returns the processor time that the process has used.
func ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
