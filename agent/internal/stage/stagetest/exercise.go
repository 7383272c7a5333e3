package stagetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Layers selects what is between a driver and a disk in an [Exercise].
type Layers uint8

// The layers.
const (
	NoStage Layers = iota
	Staged
	StagedWithCache
	allLayers
)

// Exercise reads and writes a disk at random, through changing layers, with link cuts,
// cancelled commands, resets, errors of the disk, power cuts and unplugged clients. It fails
// unless each read returns what was written last, and the disk has what was written before
// a SYNCHRONIZE CACHE. Wrap returns the layers above a disk. It runs in virtual time, and
// returns how much of it has passed.
func Exercise(
	t *testing.T, seed uint64, steps int, wrap func(usb.Device, PathConfig, Layers) (usb.Device, *Path),
) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		x := newExercise(t, seed)
		for at := 0; at < steps; {
			n := 20 + x.random.IntN(200)
			x.use(wrap, n)
			at += n
		}
	})
	return took
}

// exerciseBlocks is the number of blocks of the disk of an exercise that are used.
const exerciseBlocks = 600

type exercise struct {
	*testing.T
	seed    uint64
	random  *rand.Rand
	cfg     DiskConfig
	disk    *Disk
	faulty  atomic.Bool
	serial  uint32
	blocks  [exerciseBlocks]knowledge
	next    uint64
	driver  Driver
	path    *Path
	history []string
}

// knowledge holds what is known of one block.
type knowledge struct {
	may    []uint32 // contents that a read may return
	stable []uint32 // contents that the disk may have after a power cut
}

func newExercise(t *testing.T, seed uint64) *exercise {
	x := &exercise{T: t, seed: seed, random: rand.New(rand.NewPCG(seed, 6))}
	x.cfg = DiskConfig{
		Units: 1, BlockSize: []uint32{512, 2048, 4096}[x.random.IntN(3)], MaxPacket: []int{512, 1024}[x.random.IntN(2)],
		Blocks: []uint64{4096, 8 << 40 / 512}[x.random.IntN(2)], NoSync: x.random.IntN(4) == 0,
	}
	if x.random.IntN(2) == 0 {
		x.cfg.Modes = []byte{0x08, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	}
	faults := rand.New(rand.NewPCG(seed, 7)) // the disk calls Fault with its lock held
	x.cfg.Fault = func(byte, uint8, uint64, uint64) Fault {
		if x.faulty.Load() && faults.IntN(30) == 0 {
			return Fault(1 + faults.IntN(int(Faults)-1))
		}
		return NoFault
	}
	x.disk = NewDisk(x.cfg)
	for i := range x.blocks {
		x.blocks[i] = knowledge{may: []uint32{0}, stable: []uint32{0}}
	}
	return x
}

// use attaches the disk, runs n steps, and detaches it.
func (x *exercise) use(wrap func(usb.Device, PathConfig, Layers) (usb.Device, *Path), n int) {
	layers := Layers(x.random.IntN(int(allLayers)))
	path := PathConfig{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Seed: x.random.Uint64()}
	if x.random.IntN(2) == 0 {
		path.Rate = 1 << (18 + x.random.IntN(8))
	}
	var dev usb.Device
	dev, x.path = wrap(keptOpen{x.disk}, path, layers)
	x.note("use with layers %d", layers)
	x.driver = Driver{Device: dev, Timeout: timeout, tag: x.serial}
	x.faulty.Store(false)
	x.driver.Inquiry(0)
	x.driver.Capacity(0)
	x.driver.Modes(0)
	x.faulty.Store(x.random.IntN(3) == 0)
	for range n {
		x.step()
	}
	x.detach(dev)
}

// detach ends a use, in one of the ways in which it can end.
func (x *exercise) detach(dev usb.Device) {
	x.faulty.Store(false)
	switch x.random.IntN(4) {
	case 0: // the client's machine, or its link, is gone
		x.note("link lost for good")
		x.path.SetDown(true)
		_ = dev.Close()
		x.settle(func(k *knowledge) []uint32 { return k.stable })
	case 1:
		x.note("power cut")
		CutPower(x.disk)
		_ = dev.Close()
		plugIn(x.disk)
		x.settle(func(k *knowledge) []uint32 { return k.stable })
	default:
		x.path.SetDown(false)
		err := dev.Close()
		x.note("released: %v", err)
		x.settle(func(k *knowledge) []uint32 {
			if err != nil {
				return k.stable
			}
			return k.may
		})
	}
}

// settle checks the disk after a use, of which nothing is under way any more.
func (x *exercise) settle(allowed func(*knowledge) []uint32) {
	x.Helper()
	resetDisk(x.disk)
	for i := range x.blocks {
		k := &x.blocks[i]
		got := x.tagOf(uint64(i), x.disk.Block(0, uint64(i)))
		if !slices.Contains(allowed(k), got) {
			x.fatalf("the disk has %d in block %d, allowed are %v", got, i, allowed(k))
		}
		k.may = []uint32{got}
		k.stable = append(slices.Clone(k.may), x.tagOf(uint64(i), x.stable(uint64(i))))
	}
}

func (x *exercise) step() {
	size := int(x.cfg.BlockSize)
	count := []uint64{1, 2, 8, 8, 32, 60}[x.random.IntN(6)]
	first := x.random.Uint64N(exerciseBlocks - count)
	switch k := x.random.IntN(100); {
	case k < 30: // a sequence of reads
		if x.next+count > exerciseBlocks || x.random.IntN(20) == 0 {
			x.next = first
		}
		x.read(x.next, count, size)
		x.next += count
	case k < 45:
		x.read(first, count, size)
	case k < 85:
		x.write(first, count)
	case k < 90:
		x.sync()
	case k < 91:
		x.path.SetDown(true)
		time.AfterFunc(time.Duration(x.random.IntN(20000))*time.Millisecond, func() { x.path.SetDown(false) })
	case k < 93:
		x.driver.Timeout = time.Duration(x.random.IntN(60)) * time.Millisecond // the next command is cancelled
		x.note("short timeout")
		x.write(first, count)
		x.driver.Timeout = timeout
	case k < 94:
		x.note("reset")
		x.driver.reset()
	case k < 95:
		x.driver.Do(0, make([]byte, 6), 0, nil)
	case k < 96:
		x.driver.Modes(0)
	default:
		time.Sleep(time.Duration(x.random.IntN(4000)) * time.Millisecond)
	}
}

func (x *exercise) read(first, count uint64, size int) {
	r := x.driver.Do(0, Read(first, count), int(count)*size, nil)
	x.note("read %d+%d: %v", first, count, r)
	if r.Err != "" || r.Failed || len(r.Data) < int(count)*size {
		return
	}
	for i := range count {
		k := &x.blocks[first+i]
		got := x.tagOf(first+i, r.Data[int(i)*size:][:size])
		if !slices.Contains(k.may, got) {
			x.fatalf("block %d has %d, allowed are %v", first+i, got, k.may)
		}
		k.may = []uint32{got}
	}
}

func (x *exercise) write(first, count uint64) {
	x.serial++
	var data []byte
	for i := range count {
		data = append(data, x.contentOf(first+i, x.serial)...)
	}
	block := Write(first, count)
	if x.random.IntN(20) == 0 {
		block[1] = 0x08 // FUA
	}
	for i := range count { // it may reach the disk, however it ends
		k := &x.blocks[first+i]
		k.stable = append(k.stable, x.serial)
		k.may = append(k.may, x.serial)
	}
	r := x.driver.Do(0, block, 0, data)
	x.note("write %d+%d of %d: %v", first, count, x.serial, r)
	if r.Err == "" && !r.Failed {
		for i := range count {
			x.blocks[first+i].may = []uint32{x.serial}
		}
	}
}

// sync runs SYNCHRONIZE CACHE. If it succeeds, the disk must have what reads return.
func (x *exercise) sync() {
	r := x.driver.Sync(0)
	x.note("sync: %v", r)
	if r.Err != "" || r.Failed {
		return
	}
	for i := range x.blocks {
		k := &x.blocks[i]
		if got := x.tagOf(uint64(i), x.disk.Block(0, uint64(i))); !slices.Contains(k.may, got) {
			x.fatalf("after a SYNCHRONIZE CACHE, the disk has %d in block %d, allowed are %v", got, i, k.may)
		}
		k.stable = slices.Clone(k.may)
	}
}

// contentOf returns the content of a block that a write stores.
func (x *exercise) contentOf(block uint64, serial uint32) []byte {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint64(b, block)
	binary.LittleEndian.PutUint32(b[8:], serial)
	return bytes.Repeat(b, int(x.cfg.BlockSize)/16)
}

// stable returns the content of a block after a power cut.
func (x *exercise) stable(block uint64) []byte {
	x.disk.mu.Lock()
	defer x.disk.mu.Unlock()
	return x.disk.stableBlock(0, block)
}

// tagOf returns the number of the write that a block comes from, 0 for none. It fails if the
// block is mixed.
func (x *exercise) tagOf(block uint64, data []byte) uint32 {
	x.Helper()
	serial := binary.LittleEndian.Uint32(data[8:])
	if bytes.Equal(data, x.contentOf(block, serial)) {
		return serial
	}
	if !bytes.Equal(data, x.disk.original(0, block)) {
		x.fatalf("block %d has a content that was never written", block)
	}
	return 0
}

func (x *exercise) note(format string, args ...any) {
	x.history = append(x.history, fmt.Sprintf(format, args...))
	if len(x.history) > 40 {
		x.history = x.history[1:]
	}
}

func (x *exercise) fatalf(format string, args ...any) {
	x.Helper()
	for _, line := range x.history {
		x.Log(line)
	}
	x.Fatalf("seed %d: "+format, append([]any{x.seed}, args...)...)
}

// keptOpen is a disk that stays plugged in when its user closes it. Closing resets it, as
// backends do.
type keptOpen struct{ *Disk }

func (k keptOpen) Close() error {
	resetDisk(k.Disk)
	return nil
}

// resetDisk cancels the URBs that wait, and resets the disk.
func resetDisk(d *Disk) {
	d.mu.Lock()
	for _, u := range slices.Concat(d.ins, d.outs) {
		d.box.Finish(u, usb.StatusReset)
	}
	d.ins, d.outs = nil, nil
	clear(d.halted)
	d.recover()
	d.mu.Unlock()
	d.box.Drain()
}

// plugIn plugs a disk in again.
func plugIn(d *Disk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended, d.gone = usb.StatusOK, make(chan struct{})
}
