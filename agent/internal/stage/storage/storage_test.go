package storage_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"go.uber.org/goleak"
)

const hostileRuns = 400

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newStage returns the stage above a path to a disk with a guard.
func newStage(t *testing.T, disk usb.Device, cfg stagetest.PathConfig) *storage.Stage {
	t.Helper()
	s, _ := wrap(t, disk, cfg)
	return s.(*storage.Stage)
}

func wrap(t *testing.T, disk usb.Device, cfg stagetest.PathConfig) (usb.Device, *stagetest.Path) {
	t.Helper()
	path := stagetest.NewPath(guard.New(disk), cfg)
	s, reason := storage.New(path, storage.Config{})
	if s == nil {
		t.Fatal(reason)
	}
	return s, path
}

func TestDriverSeesNoDifference(t *testing.T) {
	for seed := range uint64(5) {
		stagetest.Contract(t, seed, 300, wrap)
	}
}

func TestRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt = 50 * time.Millisecond
		disk := stagetest.NewDisk(stagetest.DiskConfig{Units: 1, BlockSize: 512, Blocks: 1 << 20, MaxPacket: 512})
		s := newStage(t, disk, stagetest.PathConfig{Delay: rtt / 2})
		defer s.Close()
		d := stagetest.Driver{Device: s, Timeout: 30 * time.Second}
		measure := func(name string, want time.Duration, do func() stagetest.Result) {
			t.Helper()
			began := time.Now()
			r := do()
			if took := time.Since(began); took != want || r.Err != "" || r.Failed {
				t.Errorf("%s took %v, want %v: %v", name, took, want, r)
			}
		}
		measure("READ CAPACITY", rtt, func() stagetest.Result { return d.Capacity(0) })
		measure("a read", rtt, func() stagetest.Result { return d.Do(0, stagetest.Read(100, 8), 4096, nil) })
		measure("a write", rtt, func() stagetest.Result {
			return d.Do(0, stagetest.Write(7, 8), 0, make([]byte, 4096))
		})
		measure("the second read of a sequence", rtt, func() stagetest.Result {
			return d.Do(0, stagetest.Read(108, 8), 4096, nil)
		})
		time.Sleep(rtt)
		for n := range uint64(30) {
			measure("a read of a sequence", 0, func() stagetest.Result {
				return d.Do(0, stagetest.Read(116+8*n, 8), 4096, nil)
			})
			time.Sleep(rtt)
		}
		if off, c := s.Stats(); c.Hits != 30 || c.Commands != 34 || off != "" {
			t.Errorf("%+v, %s", c, off)
		}
	})
}
