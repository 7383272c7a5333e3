package storage_test

import (
	"flag"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

var soak = flag.Duration("soak", 0, "run TestSoakStorage for this time by the clock")

// exercised returns the layers of an exercise.
func exercised(t *testing.T) func(usb.Device, stagetest.PathConfig, stagetest.Layers) (usb.Device, *stagetest.Path) {
	return func(disk usb.Device, cfg stagetest.PathConfig, layers stagetest.Layers) (usb.Device, *stagetest.Path) {
		path := stagetest.NewPath(guard.New(disk), cfg)
		if layers == stagetest.NoStage {
			return path, path
		}
		s, reason := storage.New(path, storage.Config{WriteCache: layers == stagetest.StagedWithCache})
		if s == nil {
			t.Fatal(reason)
		}
		return s, path
	}
}

// TestSoakStorage compares a disk with what was written to it. In virtual time, a second
// holds minutes of use.
func TestSoakStorage(t *testing.T) {
	const steps = 600
	began, virtual, seed := time.Now(), time.Duration(0), uint64(0)
	for ; !t.Failed() && (seed < 5 || time.Since(began) < *soak); seed++ {
		virtual += stagetest.Exercise(t, seed, steps, exercised(t))
	}
	t.Logf("%d exercises of %d commands, %v of virtual time", seed, steps, virtual)
}
