package storage_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Command blocks of a driver that examines a disk.
var (
	inquiry   = []byte{0x12, 0, 0, 0, 36, 0}
	testReady = make([]byte, 6)
	capacity  = []byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	bootBlock = []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0}
	modeSense = []byte{0x1a, 0, 0x3f, 0, 192, 0}
)

// recorder records the operation codes that reach a disk. path is the path to it.
type recorder struct {
	*stagetest.Disk
	path *stagetest.Path
	mu   sync.Mutex
	ops  []byte
}

// commands returns the operation codes that have reached the disk.
func (r *recorder) commands() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops)
}

func (r *recorder) Submit(u *usb.URB) {
	if u.Endpoint == stagetest.DiskOut && len(u.Data) == 31 {
		r.mu.Lock()
		r.ops = append(r.ops, u.Data[15])
		r.mu.Unlock()
	}
	r.Disk.Submit(u)
}

// inProbe runs a test on a disk that no driver has examined.
func inProbe(t *testing.T, run func(s scene, r *recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{Disk: stagetest.NewDisk(smallDisk())}
		path := stagetest.NewPath(guard.New(r), stagetest.PathConfig{Delay: sceneRTT / 2})
		r.path = path
		s, reason := storage.New(path, storage.Config{})
		if s == nil {
			t.Fatal(reason)
		}
		defer s.Close()
		run(scene{T: t, disk: r.Disk, stage: s, driver: stagetest.Driver{Device: s, Timeout: 30 * time.Second}}, r)
	})
}

// pause waits until all that the stage reads ahead has arrived.
func (s scene) pause() { time.Sleep(10 * sceneRTT) }

// run runs a command and checks the time that it takes.
func (s scene) run(block []byte, in int, want time.Duration) stagetest.Result {
	s.Helper()
	began := time.Now()
	r := s.driver.Do(0, block, in, nil)
	if took := time.Since(began); took != want || r.Err != "" {
		s.Errorf("% x took %v, want %v: %v", block, took, want, r)
	}
	return r
}

func TestDriverExaminesADiskInThreeRoundTrips(t *testing.T) {
	inProbe(t, func(s scene, r *recorder) {
		s.run(inquiry, 36, sceneRTT)
		s.run(testReady, 0, 0)
		s.run(capacity, 8, 0)
		if b := s.run(bootBlock, 4096, sceneRTT); string(b.Data[:512]) != string(s.disk.Block(0, 0)) {
			s.Error("the boot block has wrong data")
		}
		s.run(testReady, 0, sceneRTT) // each but the first one
		s.run(capacity, 8, 0)
		s.run(inquiry, 36, 0)
		time.Sleep(time.Second)
		want := []byte{0x12, 0x00, 0x25, 0x28, 0x28, 0x00}
		if !slices.Equal(r.commands(), want) {
			s.Errorf("the disk got the commands % x, want % x", r.commands(), want)
		}
		s.run(capacity, 8, sceneRTT) // the answer is too old
		s.run(inquiry, 36, sceneRTT) // of a program that looks at the disk later
		s.pause()
		if len(r.commands()) > len(want)+4 {
			s.Errorf("then the disk got the commands % x", r.commands()[len(want):])
		}
		if off, c := s.stage.Stats(); off != "" || c.Hits != 5 {
			s.Errorf("%+v, %s", c, off)
		}
	})
}

func TestCommandThatChangesAnythingDropsAnswers(t *testing.T) {
	for name, block := range map[string][]byte{
		"START STOP": {0x1b, 0, 0, 0, 1, 0}, "MODE SELECT": {0x15, 0, 0, 0, 0, 0},
		"a vendor command": {0xf0, 0, 0, 0, 0, 0},
	} {
		inProbe(t, func(s scene, _ *recorder) {
			s.run(inquiry, 36, sceneRTT)
			time.Sleep(sceneRTT)
			s.driver.Do(0, block, 0, nil)
			s.Log(name)
			s.run(testReady, 0, sceneRTT)
			s.run(capacity, 8, sceneRTT)
			s.run(inquiry, 36, sceneRTT)
		})
	}
}

func TestUnitAttentionReachesTheDriverOnce(t *testing.T) {
	inProbe(t, func(s scene, _ *recorder) {
		s.disk.ChangeMedium(0)
		if r := s.driver.Do(0, inquiry, 36, nil); r.Failed || r.Err != "" {
			s.Error(r)
		}
		if r := s.driver.Do(0, testReady, 0, nil); !r.Failed || r.Sense != [3]byte{6, 0x28, 0} {
			s.Errorf("the first TEST UNIT READY: %v", r)
		}
		for _, c := range []struct {
			block []byte
			in    int
		}{{testReady, 0}, {capacity, 8}, {bootBlock, 4096}} {
			if r := s.driver.Do(0, c.block, c.in, nil); r.Failed || r.Err != "" {
				s.Errorf("% x: %v", c.block, r)
			}
		}
	})
}

// TestAnswerOfALostLinkIsTooOld loses the link after the disk has run the first TEST UNIT
// READY. The medium is changed before the answer arrives.
func TestAnswerOfALostLinkIsTooOld(t *testing.T) {
	inProbe(t, func(s scene, r *recorder) {
		time.AfterFunc(sceneRTT*3/4, func() { r.path.SetDown(true) })
		time.AfterFunc(2*time.Second, func() { s.disk.ChangeMedium(0) })
		time.AfterFunc(3*time.Second, func() { r.path.SetDown(false) })
		if i := s.driver.Do(0, inquiry, 36, nil); i.Failed || i.Err != "" {
			s.Error(i)
		}
		if i := s.driver.Do(0, testReady, 0, nil); !i.Failed || i.Sense != [3]byte{6, 0x28, 0} {
			s.Errorf("TEST UNIT READY: %v", i)
		}
	})
}

func TestMissingMediumReachesTheDriver(t *testing.T) {
	inProbe(t, func(s scene, r *recorder) {
		stagetest.Eject(s.disk, 0)
		if r := s.driver.Do(0, inquiry, 36, nil); r.Failed || r.Err != "" {
			s.Error(r)
		}
		if r := s.driver.Do(0, testReady, 0, nil); !r.Failed || r.Sense != [3]byte{2, 0x3a, 0} {
			s.Errorf("TEST UNIT READY: %v", r)
		}
		s.disk.ChangeMedium(0) // a medium is inserted
		if r := s.driver.Do(0, testReady, 0, nil); !r.Failed || r.Sense != [3]byte{6, 0x28, 0} {
			s.Errorf("TEST UNIT READY with a new medium: %v", r)
		}
		s.run(testReady, 0, sceneRTT)
		if slices.Contains(r.commands(), 0x25) || slices.Contains(r.commands(), 0x28) {
			s.Errorf("the disk without a medium got the commands % x", r.commands())
		}
	})
}

// TestModesAreNotAskedAhead pins that the stage does not send MODE SENSE by itself: some
// disks do not survive it (Linux: US_FL_NO_WP_DETECT in
// drivers/usb/storage/unusual_devs.h).
func TestModesAreNotAskedAhead(t *testing.T) {
	inProbe(t, func(s scene, r *recorder) {
		s.run(inquiry, 36, sceneRTT)
		time.Sleep(10 * sceneRTT)
		if slices.Contains(r.commands(), modeSense[0]) {
			s.Errorf("the disk got the commands % x", r.commands())
		}
	})
}
