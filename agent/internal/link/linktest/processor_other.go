//go:build !unix

package linktest

import (
	"testing"
	"time"
)

// ProcessorTime skips the benchmark: this system has no getrusage.
func ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	t.Skip("the processor time is measured with getrusage, which this system lacks")
	return 0
}
