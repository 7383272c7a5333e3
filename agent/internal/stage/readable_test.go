package stage_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
)

// guardedPath is a path to a device with a guard.
type guardedPath struct{ *stagetest.Path }

func (guardedPath) Guarded() bool { return true }

// TestDiskIsReadableSoon attaches a disk as Linux does, with and without the stages. The
// figures for usbip of the same kernel are 55 round trips, or 4.5 s at 50 ms, of which
// the kernel itself waits 1.2 s.
func TestDiskIsReadableSoon(t *testing.T) {
	for _, c := range []struct {
		speed         usb.Speed
		staged, plain int // round trips with the stages and without them
	}{{usb.SpeedSuper, 6, 55}, {usb.SpeedHigh, 5, 52}} {
		for _, rtt := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond} {
			for _, delayUse := range []time.Duration{0, time.Second} {
				for _, off := range []bool{true, false} {
					trips, took := attachDisk(t, c.speed, rtt, delayUse, off)
					t.Logf("%v, delay_use %v, stages off %t: %d round trips, %v", rtt, delayUse, off, trips, took)
					want, longest := c.plain, time.Minute
					if !off {
						want, longest = c.staged, 400*time.Millisecond+12*rtt
					}
					if trips != want || took-delayUse > longest {
						t.Errorf("%d round trips, %v", trips, took)
					}
				}
			}
		}
	}
}

// attachDisk returns the round trips and the time that Linux needs to attach a disk.
func attachDisk(t *testing.T, speed usb.Speed, rtt, delayUse time.Duration, off bool) (trips int, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sample := virtual.SampleConfig{Size: 8 << 20, Seed: 1}
		disk, image := virtualtest.OpenDisk(t, sample, virtual.DiskConfig{Speed: speed})
		path := stagetest.NewPath(guard.New(disk), stagetest.PathConfig{Delay: rtt / 2})
		d := stage.Wrap(guardedPath{path}, stage.Config{Off: off})
		defer d.Close()
		kernel := linux{device: d, delayUse: delayUse}
		var err error
		if took, err = kernel.attach(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 4096)
		if _, err := image.ReadAt(want, 0); err != nil || string(kernel.blocks) != string(want) {
			t.Errorf("the disk has other blocks, %v", err)
		}
		trips = int((took - kernel.own + rtt/2) / rtt)
	})
	return trips, took
}

// linux attaches a USB disk as Linux 6.1 does, one transfer after the other. The
// requests are those of a trace of that kernel; the delays are named in its source.
type linux struct {
	device usb.Device
	// delayUse is the parameter delay_use of usb-storage: the time between the
	// configuration and the first command. Its default is 1 s.
	delayUse time.Duration

	// The result.
	own    time.Duration // delays of the kernel
	blocks []byte        // the first 4 KiB of the disk
}

// Delays of the kernel (drivers/usb/core/hub.c).
const (
	debounceInterval = 100 * time.Millisecond // HUB_DEBOUNCE_STABLE
	resetInterval    = 110 * time.Millisecond // HUB_ROOT_RESET_TIME and the recovery after it
	addressInterval  = 10 * time.Millisecond  // after SET_ADDRESS
)

// attach returns the time until the first blocks could be read.
func (l *linux) attach(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	l.own = 0
	if err := l.enumerate(ctx); err != nil {
		return 0, err
	}
	l.wait(l.delayUse)
	if err := l.scan(); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

func (l *linux) wait(d time.Duration) {
	time.Sleep(d)
	l.own += d
}

// enumerate does the work of hub_port_init, usb_enumerate_device and
// usb_choose_configuration.
func (l *linux) enumerate(ctx context.Context) error {
	l.wait(debounceInterval + resetInterval)
	isSuper := l.device.Info().Speed >= usb.SpeedSuper
	steps := []usb.Setup{getDescriptor(1, 0, 0, 64)}
	if isSuper {
		l.wait(addressInterval)
		steps = []usb.Setup{getDescriptor(1, 0, 0, 8), {Request: 0x31, Value: 40}} // SET_ISOCH_DELAY
	}
	for _, s := range steps {
		l.control(ctx, s)
	}
	if !isSuper {
		l.wait(resetInterval + addressInterval)
	}
	device := l.control(ctx, getDescriptor(1, 0, 0, 18))
	if len(device) < 18 {
		return fmt.Errorf("device descriptor: % x", device)
	}
	if binary.LittleEndian.Uint16(device[2:]) > 0x0200 {
		if bos := l.control(ctx, getDescriptor(15, 0, 0, 5)); len(bos) == 5 {
			l.control(ctx, getDescriptor(15, 0, 0, binary.LittleEndian.Uint16(bos[2:])))
		}
	}
	head := l.control(ctx, getDescriptor(2, 0, 0, 9))
	if len(head) < 9 {
		return fmt.Errorf("configuration: % x", head)
	}
	l.control(ctx, getDescriptor(2, 0, 0, binary.LittleEndian.Uint16(head[2:])))
	languages := l.control(ctx, getDescriptor(3, 0, 0, 255))
	if len(languages) >= 4 {
		for _, n := range []uint8{device[15], device[14], device[16]} {
			if n > 0 {
				l.control(ctx, getDescriptor(3, n, binary.LittleEndian.Uint16(languages[2:]), 255))
			}
		}
	}
	l.control(ctx, usb.Setup{Request: 9, Value: uint16(head[5])})
	return nil
}

// scan does the work of usb_stor_scan_dwork, scsi_probe_lun, sd_revalidate_disk (twice)
// and of the search for partitions.
func (l *linux) scan() error {
	l.control(context.Background(), usb.Setup{Type: 0xa1, Request: 0xfe, Length: 1})
	inquiry, ready := []byte{0x12, 0, 0, 0, 36, 0}, make([]byte, 6)
	capacity := []byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	read, modes := []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, []byte{0x1a, 0, 0x3f, 0, 192, 0}
	revalidate := [][]byte{ready, capacity, read, modes, modes}
	lengths := []int{36}
	for range 2 {
		lengths = append(lengths, 0, 8, 512, 192, 192)
	}
	blocks := slices.Clone(read)
	blocks[8] = 8
	d := stagetest.Driver{Device: l.device, Timeout: 30 * time.Second}
	for i, block := range append(slices.Concat([][]byte{inquiry}, revalidate, revalidate), blocks) {
		n := 4096
		if i < len(lengths) {
			n = lengths[i]
		}
		r := d.Do(0, block, n, nil)
		for range 2 {
			if r.Failed && r.Sense[0] == 6 { // sd_spinup_disk tries again after a unit attention
				r = d.Do(0, block, n, nil)
			}
		}
		if r.Failed || r.Err != "" {
			return fmt.Errorf("command % x: %v", block, r)
		}
		l.blocks = r.Data
	}
	return nil
}

// control runs a control request and returns the data of an IN.
func (l *linux) control(ctx context.Context, s usb.Setup) []byte {
	u := &usb.URB{Setup: s.Bytes(), Data: make([]byte, s.Length)}
	if usb.Do(ctx, l.device, u) != usb.StatusOK {
		return nil
	}
	return u.Data[:u.Actual]
}

func getDescriptor(kind, number uint8, language, length uint16) usb.Setup {
	return usb.Setup{Type: 0x80, Request: 6, Value: uint16(kind)<<8 | uint16(number), Index: language, Length: length}
}
