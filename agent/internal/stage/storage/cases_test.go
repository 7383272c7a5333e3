package storage_test

import (
	"crypto/sha256"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
)

// scene is a driver above the stage of a disk at 50 ms, in virtual time.
type scene struct {
	*testing.T
	disk   *stagetest.Disk
	stage  *storage.Stage
	driver stagetest.Driver
}

const sceneRTT = 50 * time.Millisecond

func inScene(t *testing.T, disk stagetest.DiskConfig, path stagetest.PathConfig, run func(scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := stagetest.NewDisk(disk)
		path.Delay = sceneRTT / 2
		s := newStage(t, d, path)
		defer s.Close()
		sc := scene{T: t, disk: d, stage: s, driver: stagetest.Driver{Device: s, Timeout: 30 * time.Second}}
		if r := sc.driver.Capacity(0); r.Err != "" || r.Failed {
			t.Fatal(r)
		}
		run(sc)
	})
}

// mustRead reads blocks and checks them. It returns the time that the read took.
func (s scene) mustRead(first, count uint64) time.Duration {
	s.Helper()
	began := time.Now()
	r := s.driver.Do(0, stagetest.Read(first, count), int(count)*512, nil)
	took := time.Since(began)
	if r.Err != "" || r.Failed {
		s.Fatalf("block %d: %v", first, r)
	}
	for i := range count {
		if string(r.Data[i*512:][:512]) != string(s.disk.Block(0, first+i)) {
			s.Fatalf("block %d has wrong data", first+i)
		}
	}
	return took
}

func smallDisk() stagetest.DiskConfig {
	return stagetest.DiskConfig{Units: 1, BlockSize: 512, Blocks: 1 << 20, MaxPacket: 512}
}

func TestSequentialReadFillsThePath(t *testing.T) {
	const rate = 40 << 20
	inScene(t, smallDisk(), stagetest.PathConfig{Rate: rate}, func(s scene) {
		at := uint64(0)
		for range 64 { // warms up
			s.mustRead(at, 512)
			at += 512
		}
		began := time.Now()
		const count = 256
		for range count {
			s.mustRead(at, 512)
			at += 512
		}
		if got := float64(count*512*512) / time.Since(began).Seconds(); got < 0.9*rate {
			s.Errorf("%.1f MiB/s of %d", got/(1<<20), rate>>20)
		}
		// A read of other blocks waits for what the path holds, not for all that is read ahead.
		if took := s.mustRead(900_000, 8); took > 3*sceneRTT {
			s.Errorf("a read of other blocks took %v", took)
		}
	})
}

func TestRandomReadsAreNotReadAhead(t *testing.T) {
	inScene(t, smallDisk(), stagetest.PathConfig{}, func(s scene) {
		for n := range uint64(50) {
			if took := s.mustRead(n*7919%100_000, 8); took != sceneRTT {
				s.Errorf("a read took %v", took)
			}
		}
		if _, c := s.stage.Stats(); c.Ahead != 0 || c.Hits != 0 {
			s.Errorf("%+v", c)
		}
	})
}

func TestWriteIsSeenByLaterReads(t *testing.T) {
	inScene(t, smallDisk(), stagetest.PathConfig{}, func(s scene) {
		for at := uint64(0); at < 4000; at += 8 {
			s.mustRead(at, 8)
			if at%80 == 0 { // in the middle of what was read ahead
				data := make([]byte, 4*512)
				data[0] = byte(at)
				if r := s.driver.Do(0, stagetest.Write(at+20, 4), 0, data); r.Err != "" || r.Failed {
					s.Fatal(r)
				}
			}
		}
		if _, c := s.stage.Stats(); c.Hits == 0 || c.Discarded == 0 {
			s.Errorf("%+v", c)
		}
	})
}

func TestDriverLearnsOfAChangedMedium(t *testing.T) {
	inScene(t, smallDisk(), stagetest.PathConfig{}, func(s scene) {
		for at := uint64(0); at < 400; at += 8 {
			s.mustRead(at, 8)
		}
		s.disk.ChangeMedium(0)
		attention := 0
		for at := uint64(400); at < 40_000 && attention == 0; at += 8 {
			if r := s.driver.Do(0, stagetest.Read(at, 8), 4096, nil); r.Failed && r.Sense[0] == 6 {
				attention++
			}
		}
		if attention != 1 {
			s.Fatal("the driver never learned that the medium was changed")
		}
		s.mustRead(0, 8) // of the new medium
	})
}

func TestBadBlockConcernsOnlyItsReader(t *testing.T) {
	for fault := stagetest.FailStall; fault < stagetest.Faults; fault++ {
		cfg := smallDisk()
		cfg.Fault = func(_ byte, _ uint8, first, count uint64) stagetest.Fault {
			if first <= 1000 && 1000 < first+count {
				return fault
			}
			return stagetest.NoFault
		}
		inScene(t, cfg, stagetest.PathConfig{}, func(s scene) {
			for at := uint64(0); at < 1000; at += 8 {
				s.mustRead(at, 8)
			}
			s.mustRead(5000, 8)
		})
	}
}

func TestUnpluggedDiskEndsEverything(t *testing.T) {
	inScene(t, smallDisk(), stagetest.PathConfig{}, func(s scene) {
		for at := uint64(0); at < 80; at += 8 {
			s.mustRead(at, 8)
		}
		s.disk.Unplug()
		for range 3 {
			if r := s.driver.Do(0, stagetest.Read(90_000, 8), 4096, nil); r.Err == "" {
				s.Fatal(r)
			}
		}
	})
}

func TestVirtualDiskIsReadAndWritten(t *testing.T) {
	for _, speed := range []usb.Speed{usb.SpeedHigh, usb.SpeedSuper} {
		sample := virtual.SampleConfig{Size: 8 << 20, Seed: 1}
		dev, image := virtualtest.OpenDisk(t, sample, virtual.DiskConfig{Speed: speed})
		s, reason := storage.New(guard.New(dev), storage.Config{})
		if s == nil {
			t.Fatal(reason)
		}
		disk, err := massstorage.New(massstorage.Config{Device: s})
		if err != nil {
			t.Fatal(err)
		}
		write := massstorage.Command{Block: []byte{0x2a, 0, 0, 0, 0, 9, 0, 0, 2, 0}, Out: make([]byte, 1024)}
		if _, err := disk.Do(t.Context(), write); err != nil {
			t.Fatal(err)
		}
		r, err := disk.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, want := sha256.New(), sha256.New()
		if _, err := io.CopyBuffer(got, struct{ io.Reader }{r}, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(want, io.NewSectionReader(image, 0, image.Size())); err != nil {
			t.Fatal(err)
		}
		if string(got.Sum(nil)) != string(want.Sum(nil)) {
			t.Error("the bytes read differ from the image")
		}
		if off, c := s.Stats(); off != "" || c.Hits == 0 {
			t.Errorf("%+v, %s", c, off)
		}
		_ = s.Close()
	}
}
