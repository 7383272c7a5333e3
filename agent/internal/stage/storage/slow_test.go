package storage_test

import (
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
)

// TestLateReadDoesNotWaitForMegabytes reads a sequence, and then another block while
// the stage reads ahead.
func TestLateReadDoesNotWaitForMegabytes(t *testing.T) {
	for _, rate := range []int64{1 << 20, 5 << 20, 50 << 20} {
		for _, count := range []uint64{8, 128, 512} {
			inScene(t, smallDisk(), stagetest.PathConfig{Rate: rate}, func(s scene) {
				at := uint64(0)
				for range 100 {
					s.mustRead(at, count)
					at += count
				}
				took := s.mustRead(900_000, 8)
				own := time.Duration(int64(count) * 512 * int64(time.Second) / rate)
				t.Logf("rate %d MiB/s, reads of %d KiB: %v", rate>>20, count/2, took)
				if took > 5*sceneRTT/2+2*own {
					s.Errorf("rate %d MiB/s, reads of %d KiB: a late read took %v", rate>>20, count/2, took)
				}
			})
		}
	}
}
