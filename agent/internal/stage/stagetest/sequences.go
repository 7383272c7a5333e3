package stagetest

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Sequence holds the commands that an operating system or a program sends to a disk.
type Sequence struct {
	Name, Source string
	Steps        []Step
}

// Step is one command of a [Sequence].
type Step struct {
	Name  string
	Block []byte
	In    int // bytes that the driver asks for
	Out   []byte
}

// in returns a step that asks for n bytes.
func in(name string, n int, block ...byte) Step { return Step{Name: name, Block: block, In: n} }

// do returns a step without data.
func do(name string, block ...byte) Step { return in(name, 0, block...) }

// out returns a step that sends data.
func out(name string, data []byte, block ...byte) Step {
	return Step{Name: name, Block: block, Out: data}
}

var (
	testReady = do("TEST UNIT READY", 0, 0, 0, 0, 0, 0)
	sense     = in("REQUEST SENSE", 18, 0x03, 0, 0, 0, 18, 0)
	inquiry36 = in("INQUIRY", 36, 0x12, 0, 0, 0, 36, 0)
	capacity  = in("READ CAPACITY(10)", 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	capacity2 = in("READ CAPACITY(16)", 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0)
	formats   = in("READ FORMAT CAPACITIES", 252, 0x23, 0, 0, 0, 0, 0, 0, 0, 252, 0)
	prevent   = do("PREVENT MEDIUM REMOVAL", 0x1e, 0, 0, 0, 1, 0)
	allow     = do("ALLOW MEDIUM REMOVAL", 0x1e, 0, 0, 0, 0, 0)
	syncAll   = do("SYNCHRONIZE CACHE(10)", 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	boot      = in("READ(10)", 4096, 0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0)
	modes192  = in("MODE SENSE(6) of all pages", 192, 0x1a, 0, 0x3f, 0, 192, 0)
)

// page returns INQUIRY for a page of vital product data.
func page(number byte, n int) Step {
	return in("INQUIRY of a VPD page", n, 0x12, 1, number, byte(n>>8), byte(n), 0)
}

// Sequences lists what is known to be sent to disks with blocks of 512 bytes.
var Sequences = []Sequence{
	{"Linux attaches a disk", "a trace of Linux 6.1; drivers/scsi/scsi_scan.c and sd.c", []Step{
		inquiry36, testReady, capacity, boot, modes192, modes192, testReady, capacity, modes192, boot,
		in("READ(10)", 28<<10, 0x28, 0, 0, 0, 0, 8, 0, 0, 56, 0), prevent, testReady, allow, testReady,
	}},
	{"Linux reads, writes and flushes", "drivers/scsi/sd.c, sd_setup_read_write_cmnd, sd_setup_flush_cmnd", []Step{
		inquiry36, capacity, modes192, boot,
		out("WRITE(10)", make([]byte, 4096), 0x2a, 0, 0, 0, 0, 64, 0, 0, 8, 0),
		in("READ(10)", 8192, 0x28, 0, 0, 0, 0, 56, 0, 0, 16, 0),
		out("WRITE(10) with FUA", bytes.Repeat([]byte{1}, 4096), 0x2a, 0x08, 0, 0, 0, 72, 0, 0, 8, 0), syncAll,
		in("READ(10)", 8192, 0x28, 0, 0, 0, 0, 72, 0, 0, 16, 0),
		out("UNMAP", []byte{1: 22, 3: 16, 15: 76, 19: 8, 23: 0}, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0),
		in("READ(10)", 8192, 0x28, 0, 0, 0, 0, 72, 0, 0, 16, 0),
		out("WRITE SAME(16)", make([]byte, 512), 0x93, 8, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 8, 0, 0),
		do("SYNCHRONIZE CACHE(16)", 0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		do("START STOP UNIT", 0x1b, 0, 0, 0, 0, 0),
	}},
	{"Linux programs ask and eject", "udev's scsi_id and ata_id, smartctl, sg3_utils, eject", []Step{
		page(0, 254), page(0x80, 254), page(0x83, 254), page(0xb1, 64), inquiry36,
		in("INQUIRY", 254, 0x12, 0, 0, 0, 254, 0),
		in("ATA PASS-THROUGH(12)", 512, 0xa1, 8, 0x2e, 0, 1, 0, 0, 0, 0, 0xec, 0, 0),
		in("ATA PASS-THROUGH(16)", 512, 0x85, 8, 0x0e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xec, 0),
		in("LOG SENSE", 252, 0x4d, 0, 0x40, 0, 0, 0, 0, 0, 252, 0),
		in("REPORT LUNS", 16, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0),
		in("MODE SENSE(10)", 252, 0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 252, 0),
		in("MODE SENSE(6) of a page", 64, 0x1a, 8, 0x0a, 0, 64, 0), allow,
		do("START STOP UNIT", 0x1b, 0, 0, 0, 1, 0), do("START STOP UNIT", 0x1b, 0, 0, 0, 2, 0), testReady,
	}},
	{"Windows attaches a disk", "captures in libopencm3 pull request 1334 and ChibiOS-Contrib pull request 129", []Step{
		inquiry36, page(0x80, 255), formats, inquiry36, formats, capacity,
		in("MODE SENSE(6) of page 1Ch", 192, 0x1a, 0, 0x1c, 0, 192, 0), capacity,
		in("READ(10)", 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), modes192, testReady,
		in("READ(10)", 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), page(0, 255), page(0x83, 255), page(0xb0, 255),
		page(0xb1, 255), page(0xb2, 255), capacity2, testReady, sense,
	}},
	{"Windows writes and removes", "classpnp and disk of Windows-driver-samples; SPC-4, 4.2.5.6 for lengths", []Step{
		inquiry36, capacity, prevent, in("MODE SENSE(6) of page 08h", 192, 0x1a, 0, 0x08, 0, 192, 0),
		in("MODE SENSE(6) of the header", 4, 0x1a, 0, 0x3f, 0, 4, 0),
		in("MODE SENSE(6) with an odd length", 7, 0x1a, 0, 0x3f, 0, 7, 0),
		in("MODE SENSE(6) with less than asked", 255, 0x1a, 0, 0x3f, 0, 13, 0),
		in("MODE SENSE(10) with an odd length", 27, 0x5a, 0, 0x08, 0, 0, 0, 0, 0, 27, 0),
		in("INQUIRY with an odd length", 5, 0x12, 0, 0, 0, 5, 0),
		out("WRITE(10)", make([]byte, 65536), 0x2a, 0, 0, 0, 1, 0, 0, 0, 128, 0), syncAll,
		do("VERIFY(10)", 0x2f, 0, 0, 0, 1, 0, 0, 0, 8, 0),
		in("ATA PASS-THROUGH(12)", 512, 0xa1, 8, 0x0e, 0xd0, 1, 0, 0x4f, 0xc2, 0, 0xb0, 0, 0),
		in("READ(10) past the end", 512, 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0), sense, allow,
		do("START STOP UNIT", 0x1b, 0, 0, 0, 2, 0),
		out("a vendor command", make([]byte, 64), 0xf1, 2, 3, 4, 5, 6), in("a vendor command", 64, 0xf0, 2, 3, 4, 5, 6),
	}},
	{"macOS attaches and ejects", "IOSCSIBlockCommandsDevice of opensource.apple.com", []Step{
		inquiry36, testReady, testReady, sense, do("START STOP UNIT", 0x1b, 0, 0, 0, 1, 0), prevent,
		in("MODE SENSE(6) of the header", 4, 0x1a, 8, 0x3f, 0, 4, 0), modes192, capacity, capacity2,
		in("MODE SENSE(6) of page 08h", 24, 0x1a, 8, 0x08, 0, 24, 0), page(0, 4), page(0x83, 255), page(0xb0, 64),
		boot, in("READ(10)", 131072, 0x28, 0, 0, 0, 0, 8, 0, 1, 0, 0),
		in("READ(10)", 131072, 0x28, 0, 0, 0, 1, 8, 0, 1, 0, 0),
		out("WRITE(10)", bytes.Repeat([]byte{7}, 131072), 0x2a, 0, 0, 0, 1, 8, 0, 1, 0, 0),
		in("READ(10)", 131072, 0x28, 0, 0, 0, 1, 8, 0, 1, 0, 0), testReady, syncAll,
		do("START STOP UNIT", 0x1b, 0, 0, 0, 0, 0), allow, do("START STOP UNIT", 0x1b, 0, 0, 0, 2, 0), testReady, sense,
	}},
	{"a CD is examined", "MMC-6; Linux drivers/scsi/sr.c; macOS IOSCSIMultimediaCommandsDevice", []Step{
		inquiry36, testReady, in("GET CONFIGURATION", 8, 0x46, 2, 0, 0, 0, 0, 0, 0, 8, 0),
		in("MODE SENSE(10) of page 2Ah", 128, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128, 0),
		in("GET EVENT STATUS NOTIFICATION", 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0),
		in("READ TOC", 12, 0x43, 2, 0, 0, 0, 0, 0, 0, 12, 0),
		in("READ DISC INFORMATION", 34, 0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0),
		capacity, sense, prevent, allow,
	}},
}

// ReplaySequences runs all sequences on two equal disks of each kind, one of them behind
// the stage that wrap returns. It fails if the driver sees a difference, or if what may
// change the disk reaches it in another form or order. The answers to MODE SENSE are not
// compared if the stage has a write cache.
func ReplaySequences(t *testing.T, isCached bool, wrap Wrap) {
	t.Helper()
	caching := []byte{0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for kind, cfg := range map[string]DiskConfig{
		"simple":          {},
		"card reader":     {Units: 4, Modes: []byte{}, Halts: true},
		"write protected": {ReadOnly: true, Modes: caching, DPOFUA: true},
		"full":            {Modes: caching, DPOFUA: true, Halts: true, Pages: true},
		"no cache":        {NoSync: true, Pages: true},
		"CD":              {Type: 5, Modes: []byte{0x2a, 2, 0, 0}, Pages: true, ReadOnly: true},
	} {
		cfg.Units, cfg.BlockSize, cfg.Blocks, cfg.MaxPacket = max(cfg.Units, 1), 512, 1<<16, 512
		for _, s := range Sequences {
			synctest.Test(t, func(t *testing.T) { replay(t, kind, cfg, s, isCached, wrap) })
		}
	}
}

func replay(t *testing.T, kind string, cfg DiskConfig, s Sequence, isCached bool, wrap Wrap) {
	t.Helper()
	disks := [2]*recordedDisk{{Disk: NewDisk(cfg)}, {Disk: NewDisk(cfg)}}
	staged, _ := wrap(t, disks[1], PathConfig{Delay: 20 * time.Millisecond})
	drivers := [2]*Driver{{Device: disks[0], Timeout: timeout}, {Device: staged, Timeout: timeout}}
	for unit := range uint8(cfg.Units) {
		for n, c := range s.Steps {
			plain := drivers[0].Do(unit, c.Block, c.In, c.Out)
			got := drivers[1].Do(unit, c.Block, c.In, c.Out)
			if isCached && (c.Block[0] == 0x1a || c.Block[0] == 0x5a) {
				continue
			}
			if isCached && cfg.NoSync && (c.Block[0] == 0x35 || c.Block[0] == 0x91) {
				plain = Result{} // the stage has the only cache
			}
			if !got.Equal(plain) {
				t.Errorf("%s, %s disk, step %d (%s) of unit %d: %v, without the stage %v",
					s.Name, kind, n, c.Name, unit, got, plain)
			}
		}
	}
	if err := staged.Close(); err != nil {
		t.Errorf("%s, %s disk: %v", s.Name, kind, err)
	}
	plain, got := disks[0].effects(), disks[1].effects()
	if isCached && cfg.NoSync { // the stage has found out
		plain, got = withoutSyncs(plain), withoutSyncs(got)
	}
	if isCached && len(got) > len(plain) { // the stage flushes the cache of the disk at the end
		got = got[:len(plain)]
	}
	if !bytes.Equal(bytes.Join(plain, nil), bytes.Join(got, nil)) {
		t.Errorf("%s, %s disk: it got\n% x, without the stage\n% x", s.Name, kind, got, plain)
	}
}

func withoutSyncs(blocks [][]byte) [][]byte {
	return slices.DeleteFunc(blocks, func(b []byte) bool { return b[2] == 0x35 || b[2] == 0x91 })
}

// recordedDisk records the commands that a disk gets.
type recordedDisk struct {
	*Disk
	mu     sync.Mutex
	blocks [][]byte // units and command blocks
}

// Submit implements [usb.Device].
func (d *recordedDisk) Submit(u *usb.URB) {
	if u.Endpoint == DiskOut && len(u.Data) == 31 && string(u.Data[:4]) == "USBC" {
		d.mu.Lock()
		d.blocks = append(d.blocks, bytes.Clone(u.Data[13:]))
		d.mu.Unlock()
	}
	d.Disk.Submit(u)
}

// effects returns the commands that may change the disk, in their order.
func (d *recordedDisk) effects() [][]byte {
	var list [][]byte
	for _, b := range d.blocks {
		switch b[2] {
		case 0x00, 0x03, 0x12, 0x1a, 0x23, 0x25, 0x28, 0x4d, 0x5a, 0x88, 0x9e, 0xa0:
		default:
			list = append(list, b)
		}
	}
	return list
}
