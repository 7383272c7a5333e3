package storage_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
)

// TestModeSenseShowsTheCache compares the answers to MODE SENSE with and without a write
// cache.
func TestModeSenseShowsTheCache(t *testing.T) {
	caching := func(wce byte) []byte { return append([]byte{0x08, 0x12, wce}, make([]byte, 17)...) }
	other := []byte{0x01, 0x02, 0xaa, 0xbb} // another page
	sub := []byte{0x40 | 0x1c, 1, 0, 2, 0xcc, 0xdd}
	six, ten := []byte{0x1a, 0, 0x3f, 0, 192, 0}, []byte{0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 192, 0}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		cfg   stagetest.DiskConfig
		block []byte
		want  []byte
	}{
		"no MODE SENSE":      {stagetest.DiskConfig{}, six, join([]byte{23, 0, 0, 0}, caching(4))},
		"no MODE SENSE(10)":  {stagetest.DiskConfig{}, ten, join([]byte{0, 26, 0, 0, 0, 0, 0, 0}, caching(4))},
		"no pages":           {stagetest.DiskConfig{Modes: []byte{}}, six, join([]byte{23, 0, 0, 0}, caching(4))},
		"other pages":        {stagetest.DiskConfig{Modes: other}, six, join([]byte{27, 0, 0, 0}, caching(4), other)},
		"a cache turned off": {stagetest.DiskConfig{Modes: caching(0)}, six, join([]byte{23, 0, 0, 0}, caching(4))},
		"a cache": {
			stagetest.DiskConfig{Modes: join(other, sub, caching(5)), DPOFUA: true},
			six,
			join([]byte{33, 0, 0x10, 0}, other, sub, caching(5)),
		},
		"write protected": {
			stagetest.DiskConfig{Modes: other, ReadOnly: true},
			ten,
			join([]byte{0, 30, 0, 0x80, 0, 0, 0, 0}, caching(4), other),
		},
		"one page": {
			stagetest.DiskConfig{Modes: other}, []byte{0x1a, 8, 8, 0, 24, 0}, join([]byte{27, 0, 0, 0}, caching(4)),
		},
		"the header": {stagetest.DiskConfig{Modes: other}, []byte{0x1a, 0, 8, 0, 4, 0}, []byte{27, 0, 0, 0}},
		"changeable values": {
			stagetest.DiskConfig{}, []byte{0x1a, 0, 0x7f, 0, 192, 0}, join([]byte{23, 0, 0, 0}, caching(0)),
		},
		"another page": {
			stagetest.DiskConfig{Modes: other}, []byte{0x1a, 0, 1, 0, 192, 0}, join([]byte{7, 0, 0, 0}, other),
		},
	} {
		c.cfg.Units, c.cfg.BlockSize, c.cfg.Blocks, c.cfg.MaxPacket = 1, 512, 1000, 512
		synctest.Test(t, func(t *testing.T) {
			path := stagetest.NewPath(guard.New(stagetest.NewDisk(c.cfg)), stagetest.PathConfig{})
			s, _ := storage.New(path, storage.Config{WriteCache: true})
			defer s.Close()
			d := stagetest.Driver{Device: s, Timeout: time.Minute}
			d.Inquiry(0)
			length := int(c.block[4])
			if c.block[0] == 0x5a {
				length = int(c.block[8])
			}
			r := d.Do(0, c.block, length, nil)
			if r.Err != "" || r.Failed || !bytes.Equal(r.Data, c.want) {
				t.Errorf("%s: %v\n% x, want\n% x", name, r, r.Data, c.want)
			}
		})
	}
}

// TestModeSenseOfACDIsUnchanged asks a unit that is not a disk.
func TestModeSenseOfACDIsUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := smallDisk()
		cfg.Type, cfg.Modes = 5, []byte{0x2a, 2, 0, 0}
		path := stagetest.NewPath(guard.New(stagetest.NewDisk(cfg)), stagetest.PathConfig{})
		s, _ := storage.New(path, storage.Config{WriteCache: true})
		defer s.Close()
		d := stagetest.Driver{Device: s, Timeout: time.Minute}
		d.Inquiry(0)
		if r := d.Modes(0); !bytes.Equal(r.Data, []byte{7, 0, 0, 0, 0x2a, 2, 0, 0}) {
			t.Errorf("% x", r.Data)
		}
	})
}

// FuzzModeSense asks a disk with any mode pages. The answer has the pages of the disk, and a
// caching mode page.
func FuzzModeSense(f *testing.F) {
	f.Add([]byte{0x08, 0x12, 0, 0}, uint8(192), uint8(0x3f))
	f.Add([]byte{0x40, 1, 0xff, 0xff, 8, 1, 0}, uint8(13), uint8(8))
	f.Add([]byte{1, 0, 0x48, 1}, uint8(40), uint8(0x7f))
	f.Fuzz(func(t *testing.T, pages []byte, limit, code uint8) {
		if len(pages) > 200 || limit == 0 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			cfg := smallDisk()
			cfg.Modes = pages
			plain := stagetest.Driver{Device: stagetest.NewDisk(cfg), Timeout: time.Minute}
			path := stagetest.NewPath(guard.New(stagetest.NewDisk(cfg)), stagetest.PathConfig{})
			s, _ := storage.New(path, storage.Config{WriteCache: true})
			defer s.Close()
			d := stagetest.Driver{Device: s, Timeout: time.Minute}
			d.Inquiry(0)
			block := []byte{0x1a, 0, code, 0, limit, 0}
			want, r := plain.Do(0, block, int(limit), nil), d.Do(0, block, int(limit), nil)
			if r.Err != "" || r.Failed || len(r.Data) < len(want.Data) || len(r.Data) > int(limit) {
				t.Fatalf("% x, without the stage % x", r.Data, want.Data)
			}
			if page := code & 0x3f; page != 8 && page != 0x3f && !bytes.Equal(r.Data, want.Data) {
				t.Errorf("% x, without the stage % x", r.Data, want.Data)
			}
		})
	})
}
