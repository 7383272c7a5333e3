package storage_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
)

// blkid reads what `blkid -p` of util-linux 2.38 reads of a volume, in its order, as pages
// of 4 KiB. Linux reads the last 8 blocks of a disk one by one. blkid returns the time
// that it took.
func (s scene) blkid(first, end uint64, isDisk bool) time.Duration {
	s.Helper()
	began := time.Now()
	page := func(at uint64) { s.mustRead(at&^7, 8) }
	page(end - 128)
	page(end - 16)
	page(first)
	page(first + 8)
	if isDisk {
		for at := end - 8; at < end; at++ {
			s.mustRead(at, 1)
		}
		for _, n := range []uint64{264, 63, 255, 399, 591, 675, 735, 911, 974, 991, 951, 3087} {
			page(end - n)
		}
	} else {
		page(end - 8)
		page(end - 264)
	}
	for _, at := range []uint64{32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 24, 56, 120, 16} {
		if first+at+8 <= end {
			page(first + at)
		}
	}
	if !isDisk {
		page(0)
	}
	return time.Since(began)
}

// masterBootRecord returns a block that names partitions, given as pairs of their first
// block and their length.
func masterBootRecord(parts ...uint32) []byte {
	b := make([]byte, 512)
	for i := 0; i+1 < len(parts); i += 2 {
		e := b[446+8*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], parts[i])
		binary.LittleEndian.PutUint32(e[12:], parts[i+1])
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// partitionTable returns the blocks of a GUID partition table.
func partitionTable(parts ...uint64) []byte {
	b := append(masterBootRecord(), make([]byte, 7*512)...)
	copy(b[512:], "EFI PART")
	for i := 0; i+1 < len(parts); i += 2 {
		e := b[1024+64*i:]
		e[0] = 1
		binary.LittleEndian.PutUint64(e[32:], parts[i])
		binary.LittleEndian.PutUint64(e[40:], parts[i]+parts[i+1]-1)
	}
	return b
}

func TestSignaturesAreReadInFewRoundTrips(t *testing.T) {
	for name, table := range map[string][]byte{
		"master boot record":   masterBootRecord(2048, 100_000, 102_400, 1<<20-102_400),
		"GUID partition table": partitionTable(2048, 100_000, 102_400, 1<<20-102_400-64),
	} {
		inProbe(t, func(s scene, r *recorder) {
			s.driver.Capacity(0)
			if w := s.driver.Do(0, stagetest.Write(0, uint64(len(table)/512)), 0, table); w.Failed || w.Err != "" {
				s.Fatal(w)
			}
			s.run(inquiry, 36, sceneRTT)
			s.pause()
			last := uint64(1 << 20)
			if len(table) > 512 {
				last -= 64
			}
			for _, v := range []struct {
				what       string
				first, end uint64
			}{{"disk", 0, 1 << 20}, {"first partition", 2048, 102_048}, {"second partition", 102_400, last}} {
				took := s.blkid(v.first, v.end, v.what == "disk")
				s.Logf("%s, %s: %v", name, v.what, took)
				if took > 5*sceneRTT {
					s.Errorf("%s, %s: the signatures took %v", name, v.what, took)
				}
			}
			if off, _ := s.stage.Stats(); off != "" || r.Early() > 0 {
				s.Errorf("off %q, %d early commands", off, r.Early())
			}
		})
	}
}

// TestOtherReadsStartNoSearch reads the end of a disk as a copy does.
func TestOtherReadsStartNoSearch(t *testing.T) {
	inProbe(t, func(s scene, r *recorder) {
		s.run(inquiry, 36, sceneRTT)
		s.pause()
		before := r.Commands()
		s.mustRead(1<<20-256, 8)
		s.mustRead(1<<20-8, 8)
		s.pause()
		if n := r.Commands() - before; n != 2 {
			s.Errorf("the disk got %d commands", n)
		}
	})
}
