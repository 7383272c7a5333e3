package storage_test

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// TestOperatingSystemsSeeNoDifference replays what Linux, Windows and macOS send to disks.
func TestOperatingSystemsSeeNoDifference(t *testing.T) {
	for _, isCached := range []bool{false, true} {
		stagetest.ReplaySequences(t, isCached,
			func(t *testing.T, disk usb.Device, cfg stagetest.PathConfig) (usb.Device, *stagetest.Path) {
				path := stagetest.NewPath(guard.New(disk), cfg)
				s, reason := storage.New(path, storage.Config{WriteCache: isCached})
				if s == nil {
					t.Fatal(reason)
				}
				return s, path
			})
	}
}
