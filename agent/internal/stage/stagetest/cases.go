package stagetest

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Cases runs the named cases of disks that misbehave, of drivers that do, and of links that
// die. In each case a driver gets from a disk behind the stage what it gets from an equal
// disk without it.
func Cases(t *testing.T, wrap Wrap) {
	t.Helper()
	for fault, name := range map[Fault]string{
		FailStall: "command fails at once", FailEmpty: "command fails with an empty packet",
		FailMiddle: "data stall in the middle", WrongTag: "status for another tag",
		WrongSign: "status without its signature", PhaseError: "phase error", WrongLength: "wrong residue",
		ShortData: "short data", Endless: "endless data", StallStatus: "status stalls", Hang: "data never come",
	} {
		t.Run(name, func(t *testing.T) { faultCase(t, fault, wrap) })
	}
	for _, size := range []uint32{512, 2048, 4096} {
		for _, blocks := range []uint64{1 << 13, 8 << 40 / uint64(size)} {
			t.Run(fmt.Sprintf("%d blocks of %d bytes", blocks, size), func(t *testing.T) {
				sizeCase(t, DiskConfig{Units: 1, BlockSize: size, Blocks: blocks, MaxPacket: 512}, wrap)
			})
		}
	}
	t.Run("32 units", func(t *testing.T) { unitsCase(t, wrap) })
	t.Run("reads that differ", func(t *testing.T) { differingCase(t, wrap) })
	t.Run("command out of turn", func(t *testing.T) { outOfTurnCase(t, wrap) })
	t.Run("driver cancels and resets", func(t *testing.T) { cancelCase(t, wrap) })
	t.Run("link dies within a command", func(t *testing.T) { linkCase(t, wrap) })
}

// twins holds two equal disks. The second one is behind a stage and a path.
type twins struct {
	*testing.T
	disks   [2]*Disk
	drivers [2]*Driver
	path    *Path
}

const caseRTT = 40 * time.Millisecond

// inTwins runs a case in virtual time.
func inTwins(t *testing.T, cfg DiskConfig, wrap Wrap, run func(*twins)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &twins{T: t, disks: [2]*Disk{NewDisk(cfg), NewDisk(cfg)}}
		staged, path := wrap(t, w.disks[1], PathConfig{Delay: caseRTT / 2})
		defer func() { _ = staged.Close() }()
		w.path = path
		w.drivers = [2]*Driver{{Device: w.disks[0], Timeout: timeout}, {Device: staged, Timeout: timeout}}
		w.drivers[0].Inquiry(0)
		w.drivers[1].Inquiry(0)
		w.do(0, capacity2.Block, 32, nil)
		run(w)
	})
}

// do runs a command on both disks and compares the results.
func (w *twins) do(unit uint8, block []byte, in int, out []byte) Result {
	w.Helper()
	plain, got := w.drivers[0].Do(unit, block, in, out), w.drivers[1].Do(unit, block, in, out)
	if !got.Equal(plain) {
		w.Fatalf("% x: %v, without the stage %v", block, got, plain)
	}
	return got
}

// content returns count blocks with a content that n decides.
func content(n, count uint64, size uint32) []byte {
	return bytes.Repeat([]byte{byte(n), byte(n >> 8), 0x5a, 0xa5}, int(count*uint64(size))/4)
}

func faultCase(t *testing.T, fault Fault, wrap Wrap) {
	const bad = 1000
	cfg := DiskConfig{Units: 1, BlockSize: 512, Blocks: 1 << 16, MaxPacket: 512}
	cfg.Fault = func(_ byte, _ uint8, first, count uint64) Fault {
		if first <= bad && bad < first+count {
			return fault
		}
		return NoFault
	}
	inTwins(t, cfg, wrap, func(w *twins) {
		for _, first := range []uint64{bad, bad - 4, 0} {
			w.do(0, Read(first, 8), 4096, nil)
			w.do(0, Write(first, 8), 0, content(first, 8, 512))
			w.do(0, Read(first, 8), 4096, nil)
		}
		for at := uint64(bad - 64); at < bad+64; at += 8 { // with blocks that are read ahead
			w.do(0, Read(at, 8), 4096, nil)
		}
		w.do(0, Read(5000, 8), 4096, nil)
	})
}

func sizeCase(t *testing.T, cfg DiskConfig, wrap Wrap) {
	inTwins(t, cfg, wrap, func(w *twins) {
		for _, base := range []uint64{0, cfg.Blocks - 600, 1<<32 - 300} { // also across 32 bits
			if base >= cfg.Blocks {
				continue
			}
			for at := base; at < min(base+640, cfg.Blocks+16); at += 8 { // also past the end
				w.do(0, Read(at, 8), int(8*cfg.BlockSize), nil)
				if at%64 == 0 {
					w.do(0, Write(at+12, 2), 0, content(at, 2, cfg.BlockSize))
				}
			}
		}
	})
}

// unitsCase asks for units that a command wrapper cannot address: bCBWLUN has 4 bits (5.1).
func unitsCase(t *testing.T, wrap Wrap) {
	cfg := DiskConfig{Units: 16, BlockSize: 512, Blocks: 1 << 13, MaxPacket: 512}
	inTwins(t, cfg, wrap, func(w *twins) {
		for unit := range uint8(32) {
			for n := range uint64(4) {
				r := w.do(unit, Read(8*n, 8), 4096, nil)
				if isThere := unit < 16; isThere != (r.Err == "" && len(r.Data) == 4096) {
					w.Fatalf("unit %d: %v", unit, r)
				}
			}
			w.do(unit, Write(uint64(unit), 1), 0, content(uint64(unit), 1, 512))
		}
		for unit := range uint8(16) {
			w.do(unit, Read(0, 32), 32*512, nil)
		}
	})
}

// differingCase reads a disk that answers each read in another way. A block must come from
// one answer of the disk.
func differingCase(t *testing.T, wrap Wrap) {
	cfg := DiskConfig{Units: 1, BlockSize: 512, Blocks: 1 << 13, MaxPacket: 512, Differs: true}
	inTwins(t, cfg, wrap, func(w *twins) {
		for n := range uint64(400) {
			at := n / 2 * 8 // each twice
			r := w.drivers[1].Do(0, Read(at, 8), 4096, nil)
			if r.Err != "" || r.Failed || len(r.Data) != 4096 {
				w.Fatal(r)
			}
			for i := range 8 {
				b := r.Data[i*512:][:512]
				if !bytes.Equal(b, bytes.Repeat(b[:16], 32)) || b[0] != byte(at+uint64(i)) {
					w.Fatalf("block %d comes from several answers: % x", at, b[:64])
				}
			}
		}
	})
}

// outOfTurnCase submits the next command before the status of the one before is fetched.
func outOfTurnCase(t *testing.T, wrap Wrap) {
	cfg := DiskConfig{Units: 1, BlockSize: 512, Blocks: 1 << 13, MaxPacket: 512}
	inTwins(t, cfg, wrap, func(w *twins) {
		for n := range uint64(20) {
			var results [2][]string
			for i, d := range w.drivers {
				urbs := []*usb.URB{
					commandURB(command{block: Read(8*n, 8), in: 4096}),
					commandURB(command{block: Read(8*n+4000, 1), in: 512}),
					{Endpoint: DiskIn, Data: make([]byte, 4096)},
					{Endpoint: DiskIn, Data: make([]byte, 13)},
					{Endpoint: DiskIn, Data: make([]byte, 512)},
					{Endpoint: DiskIn, Data: make([]byte, 13)},
				}
				var ends []<-chan struct{}
				for _, u := range urbs {
					ends = append(ends, usb.Start(d.Device, u))
				}
				for k, end := range ends {
					<-end
					u := urbs[k]
					results[i] = append(results[i], fmt.Sprintf("%d % x", u.Status, u.Data[:u.Actual]))
				}
			}
			for k := range results[0] {
				if results[0][k] != results[1][k] {
					w.Fatalf("round %d, transfer %d: %s, without the stage %s", n, k, results[1][k], results[0][k])
				}
			}
		}
		if early := w.disks[1].Early(); early > w.disks[0].Early() {
			w.Errorf("%d commands came before the status of the one before was fetched", early)
		}
	})
}

// cancelCase cancels commands after every part of a round trip. The disk works afterwards.
func cancelCase(t *testing.T, wrap Wrap) {
	cfg := DiskConfig{Units: 1, BlockSize: 512, Blocks: 1 << 13, MaxPacket: 512}
	inTwins(t, cfg, wrap, func(w *twins) {
		for n := range uint64(60) {
			d := w.drivers[1]
			d.Timeout = time.Duration(n) * time.Millisecond
			block, in, out := Read(8*n, 8), 4096, []byte(nil)
			if n%3 == 0 {
				block, in, out = Write(8*n, 8), 0, content(n, 8, 512)
			}
			d.Do(0, block, in, out)
			d.Timeout = timeout
			w.drivers[0].Do(0, block, in, out)
			if n%3 == 0 { // it may have reached the disk or not
				w.do(0, block, in, out)
			}
			w.do(0, Read(8*n, 8), 4096, nil)
		}
	})
}

// linkCase cuts the link after every part of a round trip, first for a while and then for good.
func linkCase(t *testing.T, wrap Wrap) {
	cfg := DiskConfig{Units: 1, BlockSize: 512, Blocks: 1 << 13, MaxPacket: 512}
	inTwins(t, cfg, wrap, func(w *twins) {
		for n := range uint64(100) {
			time.AfterFunc(time.Duration(n)*time.Millisecond, func() { w.path.SetDown(true) })
			time.AfterFunc(time.Duration(n)*time.Millisecond+5*time.Second, func() { w.path.SetDown(false) })
			w.do(0, Write(8*n, 8), 0, content(n, 8, 512))
			w.do(0, Read(8*n, 8), 4096, nil)
			w.do(0, Read(8*n+8, 8), 4096, nil)
			time.Sleep(6 * time.Second)
		}
		time.AfterFunc(caseRTT/2-time.Millisecond, w.disks[1].Unplug) // before the command arrives
		if r := w.drivers[1].Do(0, Write(7000, 8), 0, content(1, 8, 512)); r.Err == "" {
			w.Errorf("a write to a disk that is gone: %v", r)
		}
		status := &usb.URB{Endpoint: DiskIn, Data: make([]byte, 13)}
		if s := usb.Do(context.Background(), w.drivers[1].Device, status); s == usb.StatusOK {
			w.Error("the disk is gone, and a transfer succeeds")
		}
	})
}
