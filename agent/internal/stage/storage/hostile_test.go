package storage_test

import (
	"math/rand/v2"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

func TestHostileDriverNeitherHangsNorBreaksTheDisk(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 4))
	for range hostileRuns {
		input := make([]byte, random.IntN(60))
		for i := range input {
			input[i] = byte(random.Uint32())
		}
		stagetest.Hostile(t, input, wrap)
	}
}

func FuzzHostileDriver(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 13, 17, 0, 0})
	f.Add([]byte{5, 0x8b, 0x48, 0, 0, 0, 0, 18})
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 100 {
			return
		}
		stagetest.Hostile(t, input, wrap)
	})
}

// TestHostileCases runs all cases, with a driver that does not know of a write cache, and
// with one that does but finds none.
func TestHostileCases(t *testing.T) {
	stagetest.Cases(t, wrap)
	stagetest.Cases(t, func(t *testing.T, disk usb.Device, cfg stagetest.PathConfig) (usb.Device, *stagetest.Path) {
		path := stagetest.NewPath(guard.New(disk), cfg)
		s, reason := storage.New(path, storage.Config{WriteCache: true})
		if s == nil {
			t.Fatal(reason)
		}
		return s, path
	})
}
