package isochronous_test

import (
	"fmt"
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
		Packet: func(n uint64) []byte { return stagetest.Numbered(n, f.size(n)) },
	})
	meter := &stagetest.IsoMeter{
		Size: f.size, Playout: playout, Taken: func(n uint64) time.Time { return device.Time(n + 1) },
	}
	stream(t, f, path, device, meter, &stagetest.IsoDriver{Endpoint: stagetest.IsoIn, Room: f.room, Done: meter.Read})
}

// stream runs a driver for a while and fails the test if there was a gap.
func stream(
	t *testing.T, f format, path pathConfig, device *stagetest.IsoDevice, meter *stagetest.IsoMeter,
	d *stagetest.IsoDriver,
) {
	staged, n := newStage(t, device, path)
	selectSetting(t, staged, 1)
	d.Device, d.URBs, d.Packets = staged, 3, f.packets
	d.Start()
	time.Sleep(time.Duration(f.seconds) * time.Second)
	result := meter.Result()
	if left := stop(d); left > 0 {
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
	if result.Gaps > 0 || result.Packets < want {
		t.Errorf("%d gaps in %d packets, want %d or more", result.Gaps, result.Packets, want)
	}
	if work.Recovered == 0 || work.Lost+work.Late > 0 {
		t.Errorf("counts: %+v", work)
	}
	mbit := func(bytes int64) float64 { return float64(bytes) * 8 / 1e6 / float64(f.seconds) }
	t.Logf("%d packets, %.1f Mbit/s, on the path %.1f; latest after %v; %+v", result.Packets, mbit(result.Bytes),
		mbit(n.sent), result.Latest(), work)
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
	meter := &stagetest.IsoMeter{Size: f.size, Playout: playout}
	device := stagetest.NewIsoDevice(stagetest.IsoConfig{
		Speed: f.speed, Interval: f.interval, Class: f.class, PPM: ppm, Played: meter.Played,
	})
	written := uint64(0)
	d := &stagetest.IsoDriver{Endpoint: stagetest.IsoOut, Done: meter.Wrote}
	d.Next = func() []byte {
		written++
		return stagetest.Numbered(written-1, f.size(written-1))
	}
	stream(t, f, path, device, meter, d)
}
