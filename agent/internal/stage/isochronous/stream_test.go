package isochronous_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// playout is the time after which a packet is useless.
const playout = 150 * time.Millisecond

// format is a stream of packets.
type format struct {
	name     string
	speed    usb.Speed
	interval uint8
	class    uint8
	size     func(n uint64) int // bytes of packet n
	room     int                // bytes of the longest packet
	packets  int                // of an URB of the driver
	seconds  int
}

// uneven returns the size of a packet of 44.1 kHz stereo in frames of 1 ms: 44 samples, and
// 45 in each tenth packet.
func uneven(n uint64) int {
	if n%10 == 9 {
		return 180
	}
	return 176
}

func even(size int) func(uint64) int { return func(uint64) int { return size } }

// camera returns the size of a packet of a camera that sends pictures of about 100 kB as
// long packets and then nothing until the next one, 30 times a second: 24 Mbit/s.
func camera(n uint64) int {
	const frame, long = 8000 / 30, 3072
	if at := n % frame; at < 35 {
		return long - int(n/frame%5)*100
	}
	return 12
}

var formats = []format{
	{"48 kHz, full speed", usb.SpeedFull, 1, 1, even(192), 192, 6, 40},
	{"48 kHz, high speed", usb.SpeedHigh, 1, 1, even(24), 24, 16, 10},
	{"44.1 kHz", usb.SpeedFull, 1, 1, uneven, 180, 6, 40},
	{"packets every 4 ms", usb.SpeedHigh, 6, 1, even(64), 64, 2, 20},
	{"camera", usb.SpeedHigh, 1, 14, camera, 3072, 32, 8},
}

// paths are those for which the stage is made: round trips of 100 ms.
var paths = map[string]pathConfig{
	"1 % loss":         {delay: 50 * time.Millisecond, loss: 0.01},
	"1 % loss, jitter": {delay: 45 * time.Millisecond, jitter: 10 * time.Millisecond, loss: 0.01},
}

func TestMicrophoneAndCameraHaveNoGap(t *testing.T) {
	for _, f := range formats {
		for name, path := range paths {
			for _, ppm := range []int64{-200, 0, 200} {
				if ppm != 0 && (f.interval > 1 || f.class != 1 || path.jitter > 0) {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s, %+d ppm", f.name, name, ppm), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { recordWithoutGap(t, f, path, ppm) })
				})
			}
		}
	}
}

func recordWithoutGap(t *testing.T, f format, path pathConfig, ppm int64) {
	device := stagetest.NewIsoDevice(stagetest.IsoConfig{
		Speed: f.speed, Interval: f.interval, Class: f.class, PPM: ppm,
		Packet: func(n uint64) []byte { return numbered(n, f.size(n)) },
	})
	staged, n := newStage(t, device, path)
	selectSetting(t, staged, 1)
	var mu sync.Mutex
	var gaps, packets, bytes int
	var next uint64
	var latest time.Duration
	d := &driver{dev: staged, endpoint: stagetest.IsoIn, urbs: 3, packets: f.packets, room: f.room}
	d.done = func(u *usb.URB) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range u.Packets {
			number, ok := numberOf(u.Data[p.Offset : p.Offset+p.Actual])
			late := time.Since(device.Time(number + 1))
			if !ok || packets > 0 && number != next || int(p.Actual) != f.size(number) || late > playout {
				gaps++
			}
			next = number + 1
			packets++
			bytes += int(p.Actual)
			latest = max(latest, late)
		}
	}
	began := time.Now()
	d.start()
	time.Sleep(time.Duration(f.seconds) * time.Second)
	if left := d.stop(); left > 0 {
		t.Errorf("%d URBs did not end", left)
	}
	selectSetting(t, staged, 0)
	if now, _ := device.Pending(); now > 0 {
		t.Errorf("the device still has %d URBs", now)
	}
	_, work := staged.Stats()
	_ = staged.Close()
	synctest.Wait()
	want := int(time.Since(began)/device.Time(1).Sub(device.Time(0))) * 95 / 100
	if gaps > 0 || packets < want {
		t.Errorf("%d gaps in %d packets, want %d or more", gaps, packets, want)
	}
	if work.Recovered == 0 || work.Lost+work.Late > 0 {
		t.Errorf("counts: %+v", work)
	}
	t.Logf("%d packets, %.1f Mbit/s, on the path %.1f; latest after %v; %+v", packets,
		float64(bytes)*8/1e6/float64(f.seconds), float64(n.sent)*8/1e6/float64(f.seconds), latest, work)
}

func TestSpeakerHasNoGap(t *testing.T) {
	for _, f := range formats {
		if f.name == "camera" {
			continue
		}
		for name, path := range paths {
			for _, ppm := range []int64{-200, 0, 200} {
				if ppm != 0 && (f.interval > 1 || path.jitter > 0) {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s, %+d ppm", f.name, name, ppm), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { playWithoutGap(t, f, path, ppm) })
				})
			}
		}
	}
}

func playWithoutGap(t *testing.T, f format, path pathConfig, ppm int64) {
	var written, next uint64
	var gaps, played, silent int
	var latest time.Duration
	due := map[uint64]time.Time{} // when the driver sees a packet as played
	var ended bool
	var mu sync.Mutex
	device := stagetest.NewIsoDevice(stagetest.IsoConfig{
		Speed: f.speed, Interval: f.interval, Class: f.class, PPM: ppm,
		Played: func(data []byte) {
			mu.Lock()
			defer mu.Unlock()
			number, ok := numberOf(data)
			switch {
			case ended || !ok && played == 0:
			case !ok:
				silent++
			default:
				if number != next || len(data) != f.size(number) {
					gaps++
				}
				if at, ok := due[number]; ok {
					latest = max(latest, time.Since(at))
					delete(due, number)
				}
				next = number + 1
				played++
			}
		},
	})
	staged, n := newStage(t, device, path)
	selectSetting(t, staged, 1)
	d := &driver{dev: staged, endpoint: stagetest.IsoOut, urbs: 3, packets: f.packets}
	d.next = func() []byte {
		written++
		return numbered(written-1, f.size(written-1))
	}
	var completed uint64
	d.done = func(u *usb.URB) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range u.Packets {
			if p.Actual != p.Length || p.Status != usb.StatusOK {
				t.Errorf("a packet of %d bytes has status %d, actual %d", p.Length, p.Status, p.Actual)
			}
			due[completed] = time.Now()
			completed++
		}
	}
	d.start()
	time.Sleep(time.Duration(f.seconds) * time.Second)
	mu.Lock()
	ended = true
	mu.Unlock()
	if left := d.stop(); left > 0 {
		t.Errorf("%d URBs did not end", left)
	}
	selectSetting(t, staged, 0)
	if now, _ := device.Pending(); now > 0 {
		t.Errorf("the device still has %d URBs", now)
	}
	_, work := staged.Stats()
	_ = staged.Close()
	synctest.Wait()
	slot := device.Time(1).Sub(device.Time(0))
	want := int(time.Duration(f.seconds)*time.Second/slot) * 95 / 100
	if gaps+silent > 0 || played < want || latest > playout {
		t.Errorf("%d gaps and %d silent packets among %d, want %d or more; latest after %v",
			gaps, silent, played, want, latest)
	}
	if work.Recovered == 0 || work.Lost+work.Late > 0 {
		t.Errorf("counts: %+v", work)
	}
	t.Logf("%d packets, on the path %.1f Mbit/s; latest after %v; %+v", played,
		float64(n.sent)*8/1e6/float64(f.seconds), latest, work)
}
