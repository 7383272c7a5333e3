package storage_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
)

// cachedScene is a scene with a write cache.
type cachedScene struct {
	scene
	path *stagetest.Path
}

// inCached runs a test with a driver that knows of the write cache and has written
// once.
func inCached(t *testing.T, disk stagetest.DiskConfig, path stagetest.PathConfig, run func(cachedScene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := stagetest.NewDisk(disk)
		path.Delay = sceneRTT / 2
		p := stagetest.NewPath(guard.New(d), path)
		s, reason := storage.New(p, storage.Config{WriteCache: true})
		if s == nil {
			t.Fatal(reason)
		}
		defer s.Close()
		c := cachedScene{scene{t, d, s, stagetest.Driver{Device: s, Timeout: 30 * time.Second}}, p}
		for unit := range uint8(disk.Units) {
			c.must(c.driver.Inquiry(unit))
			c.must(c.driver.Capacity(unit))
			c.must(c.driver.Modes(unit))
			c.must(c.driver.Do(unit, stagetest.Write(0, 1), 0, make([]byte, disk.BlockSize)))
		}
		run(c)
	})
}

func (c cachedScene) must(r stagetest.Result) stagetest.Result {
	c.Helper()
	if r.Err != "" || r.Failed {
		c.Fatal(r)
	}
	return r
}

// write writes blocks of 512 bytes with a content that tag decides, and returns how long
// that took.
func (c *cachedScene) write(first, count uint64, tag byte) time.Duration {
	c.Helper()
	began := time.Now()
	c.must(c.driver.Do(0, stagetest.Write(first, count), 0, content(count, tag)))
	return time.Since(began)
}

func content(count uint64, tag byte) []byte { return bytes.Repeat([]byte{tag}, int(count)*512) }

func (c *cachedScene) isOnDisk(first, count uint64, tag byte) bool {
	for i := range count {
		if !bytes.Equal(c.disk.Block(0, first+i), content(1, tag)) {
			return false
		}
	}
	return true
}

func TestCachedWriteNeedsNoRoundTrip(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{}, func(c cachedScene) {
		if took := c.write(100, 8, 1); took != 0 {
			t.Errorf("a write took %v", took)
		}
		if c.isOnDisk(100, 8, 1) {
			t.Error("the disk has the blocks at once")
		}
		began := time.Now()
		c.must(c.driver.Sync(0))
		if took := time.Since(began); took != sceneRTT {
			t.Errorf("SYNCHRONIZE CACHE took %v", took)
		}
		if !c.isOnDisk(100, 8, 1) || stagetest.Syncs(c.disk) != 1 {
			t.Errorf("after %d SYNCHRONIZE CACHE, the disk does not have the blocks", stagetest.Syncs(c.disk))
		}
		if _, n := c.stage.Stats(); n.Cached != 8*512 || n.Unwritten != 0 || n.Unsaved != 0 {
			t.Errorf("%+v", n)
		}
	})
}

func TestWritesAreNotCachedUnlessTheDriverKnows(t *testing.T) {
	for name, prepare := range map[string]func(*stagetest.Driver){
		"no MODE SENSE": func(d *stagetest.Driver) { d.Inquiry(0); d.Capacity(0) },
		"no INQUIRY":    func(d *stagetest.Driver) { d.Capacity(0); d.Modes(0) },
		"default values": func(d *stagetest.Driver) {
			d.Inquiry(0)
			d.Capacity(0)
			d.Do(0, []byte{0x1a, 0, 0x88, 0, 192, 0}, 192, nil)
		},
		"truncated": func(d *stagetest.Driver) {
			d.Inquiry(0)
			d.Capacity(0)
			d.Do(0, []byte{0x1a, 0, 8, 0, 4, 0}, 4, nil)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk := stagetest.NewDisk(smallDisk())
			path := stagetest.NewPath(guard.New(disk), stagetest.PathConfig{Delay: sceneRTT / 2})
			s, _ := storage.New(path, storage.Config{WriteCache: true})
			defer s.Close()
			d := stagetest.Driver{Device: s, Timeout: 30 * time.Second}
			prepare(&d)
			for n := range uint64(4) {
				began := time.Now()
				r := d.Do(0, stagetest.Write(n, 1), 0, content(1, 1))
				if took := time.Since(began); r.Err != "" || r.Failed || took != sceneRTT {
					t.Errorf("%s: a write took %v: %v", name, took, r)
				}
			}
		})
	}
}

func TestReadsSeeCachedWrites(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{Rate: 1 << 20}, func(c cachedScene) {
		for at := uint64(0); at < 2000; at += 8 {
			c.mustRead(at, 8)
			c.write(at+20, 4, byte(at))
			r := c.must(c.driver.Do(0, stagetest.Read(at+16, 8), 4096, nil))
			if !bytes.Equal(r.Data[4*512:], content(4, byte(at))) {
				t.Fatalf("block %d: a read does not see the write before", at+20)
			}
			if r := c.must(c.driver.Do(0, stagetest.Read(at+21, 2), 1024, nil)); r.Data[0] != byte(at) {
				t.Fatalf("block %d: a read does not see the write before", at+21)
			}
		}
	})
}

// TestNothingIsReadAheadOfAWrite reads a sequence up to blocks that a write is about to
// change, which waits behind other writes.
func TestNothingIsReadAheadOfAWrite(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{Rate: 1 << 20}, func(c cachedScene) {
		for n := range uint64(100) {
			c.write(100_000+64*n, 64, 1)
		}
		c.write(1040, 8, 2)
		for at := uint64(1024); at < 1040; at += 8 {
			c.mustRead(at, 8)
		}
		time.Sleep(5 * time.Second)
		if r := c.must(c.driver.Do(0, stagetest.Read(1040, 8), 4096, nil)); !bytes.Equal(r.Data, content(8, 2)) {
			t.Error("a read returns what the blocks held before the write")
		}
	})
}

func TestForcedWriteFollowsAllWrites(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{}, func(c cachedScene) {
		c.write(100, 8, 1)
		forced := stagetest.Write(200, 1)
		forced[1] = 0x08 // FUA
		c.must(c.driver.Do(0, forced, 0, content(1, 2)))
		if !c.isOnDisk(100, 8, 1) || !c.isOnDisk(200, 1, 2) {
			t.Error("the disk does not have the blocks")
		}
	})
}

func TestRemovalFollowsAllWrites(t *testing.T) {
	for name, block := range map[string][]byte{
		"START STOP":    {0x1b, 0, 0, 0, 2, 0},
		"allow removal": {0x1e, 0, 0, 0, 0, 0},
		"VERIFY":        {0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0},
	} {
		inCached(t, smallDisk(), stagetest.PathConfig{}, func(c cachedScene) {
			c.write(100, 8, 1)
			c.must(c.driver.Do(0, block, 0, nil))
			if !c.isOnDisk(100, 8, 1) {
				t.Errorf("%s: the disk does not have the blocks", name)
			}
		})
	}
}

// TestLostWriteFailsSync writes to a block that the disk refuses.
func TestLostWriteFailsSync(t *testing.T) {
	cfg, bad := smallDisk(), true
	cfg.Fault = func(op byte, _ uint8, first, count uint64) stagetest.Fault {
		if bad && first <= 105 && 105 < first+count {
			return stagetest.FailStall
		}
		return stagetest.NoFault
	}
	inCached(t, cfg, stagetest.PathConfig{}, func(c cachedScene) {
		c.write(100, 8, 1)
		c.write(200, 8, 2)
		for range 7 { // Linux repeats a failed command 5 times
			if r := c.driver.Sync(0); !r.Failed || r.Sense[0] != 3 {
				t.Fatalf("SYNCHRONIZE CACHE after a lost write: %v", r)
			}
		}
		if !c.isOnDisk(200, 8, 2) {
			t.Error("a write after the lost one is missing")
		}
		if r := c.driver.Do(0, stagetest.Read(104, 1), 512, nil); !r.Failed || r.Sense[0] != 3 {
			t.Errorf("a read of lost blocks: %v", r)
		}
		if r := c.driver.Do(0, []byte{0x1b, 0, 0, 0, 0, 0}, 0, nil); !r.Failed {
			t.Error("the unit stops as if nothing was lost")
		}
		if _, n := c.stage.Stats(); n.Unsaved != 8*512 || n.Unwritten != 0 {
			t.Errorf("%+v", n)
		}
		bad = false
		if took := c.write(100, 8, 3); took != sceneRTT {
			t.Errorf("a write after a lost one took %v", took)
		}
		c.must(c.driver.Sync(0))
		if err := c.stage.Close(); !errors.Is(err, storage.ErrLost) {
			t.Errorf("Close: %v", err)
		}
	})
}

// TestNewMediumGetsNoOldWrites changes the medium while writes are under way.
func TestNewMediumGetsNoOldWrites(t *testing.T) {
	for _, first := range []func(c cachedScene){
		func(cachedScene) {}, // a write finds out
		func(c cachedScene) { c.driver.Do(0, make([]byte, 6), 0, nil) }, // the driver finds out
	} {
		inCached(t, smallDisk(), stagetest.PathConfig{}, func(c cachedScene) {
			c.path.SetDown(true)
			for n := range uint64(8) {
				c.write(100+n, 1, 1)
			}
			c.disk.ChangeMedium(0)
			c.path.SetDown(false)
			first(c)
			sawChange := false
			for range 10 {
				r := c.driver.Sync(0)
				sawChange = sawChange || r.Sense[0] == 6
				if !r.Failed {
					t.Fatal("SYNCHRONIZE CACHE succeeds although writes are lost")
				}
			}
			for n := range uint64(8) {
				if c.isOnDisk(100+n, 1, 1) {
					t.Fatal("a write went to the new medium")
				}
			}
			c.must(c.driver.Capacity(0))
			c.must(c.driver.Sync(0))
			c.mustRead(100, 8)
		})
	}
}

func TestCloseWritesTheRest(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{Rate: 1 << 20}, func(c cachedScene) {
		for n := range uint64(8) {
			c.write(100+n*64, 64, 1)
		}
		if err := c.stage.Close(); err != nil {
			t.Error(err)
		}
		if !c.isOnDisk(100, 512, 1) || stagetest.Syncs(c.disk) == 0 {
			t.Error("the disk does not have the blocks")
		}
	})
}

func TestCloseReportsWhatIsLost(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{}, func(c cachedScene) {
		c.path.SetDown(true)
		c.write(100, 8, 1)
		if err := c.stage.Close(); !errors.Is(err, storage.ErrLost) {
			t.Errorf("Close: %v", err)
		}
	})
}

// TestPowerCutLeavesWhatWasSynced cuts the power of the disk after a SYNCHRONIZE CACHE and
// more writes.
func TestPowerCutLeavesWhatWasSynced(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{}, func(c cachedScene) {
		c.write(100, 8, 1)
		c.must(c.driver.Sync(0))
		c.write(108, 8, 2)
		c.write(100, 4, 2)
		time.Sleep(sceneRTT)
		c.write(300, 1, 3)
		stagetest.CutPower(c.disk)
		if !c.isOnDisk(100, 8, 1) {
			t.Error("blocks are missing that SYNCHRONIZE CACHE has written")
		}
		time.Sleep(sceneRTT)
		for range 3 {
			if r := c.driver.Sync(0); r.Err == "" {
				t.Errorf("SYNCHRONIZE CACHE without the disk: %v", r)
			}
			if r := c.driver.Do(0, stagetest.Write(1, 1), 0, content(1, 1)); r.Err == "" {
				t.Errorf("a write without the disk: %v", r)
			}
		}
		if err := c.stage.Close(); !errors.Is(err, storage.ErrLost) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestLinkLossBoundsTheCache(t *testing.T) {
	inCached(t, smallDisk(), stagetest.PathConfig{}, func(c cachedScene) {
		for range 100 {
			c.write(100, 256, 1)
		}
		c.path.SetDown(true)
		time.AfterFunc(20*time.Second, func() { c.path.SetDown(false) })
		began := time.Now()
		for time.Since(began) < 10*time.Second {
			c.write(100, 256, 1)
		}
		if _, n := c.stage.Stats(); n.Unwritten > 33<<20 {
			t.Errorf("%d bytes are not written", n.Unwritten)
		}
		c.must(c.driver.Sync(0))
	})
}

func TestCachedWritesFillThePath(t *testing.T) {
	const rate = 40 << 20
	inCached(t, smallDisk(), stagetest.PathConfig{Rate: rate}, func(c cachedScene) {
		write := func(n int) time.Duration {
			began := time.Now()
			for i := range n {
				c.write(uint64(i)*2048, 2048, byte(i))
			}
			c.must(c.driver.Sync(0))
			return time.Since(began)
		}
		write(64) // warms up
		if got := float64(256<<20) / write(256).Seconds(); got < 0.9*rate {
			t.Errorf("%.1f MiB/s of %d", got/(1<<20), rate>>20)
		}
	})
}
