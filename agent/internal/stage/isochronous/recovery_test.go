package isochronous_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// TestStreamsRecoverFromALongerPath makes the path longer by 250 ms for a second, as another
// transfer on a slow line does. Ten seconds later the streams are as close to the
// device as before, and have no gap.
func TestStreamsRecoverFromALongerPath(t *testing.T) {
	for name, e := range map[string]usb.Endpoint{"microphone": stagetest.IsoIn, "speaker": stagetest.IsoOut} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { recoverFromLongerPath(t, e) })
		})
	}
}

func recoverFromLongerPath(t *testing.T, e usb.Endpoint) {
	size := even(192)
	meter := &stagetest.IsoMeter{Size: size, Playout: playout}
	var measured time.Time // from then on
	device := stagetest.NewIsoDevice(stagetest.IsoConfig{
		Speed: usb.SpeedFull, Interval: 1, Class: 1,
		Packet: func(n uint64) []byte { return stagetest.Numbered(n, size(n)) },
		Played: func(data []byte) {
			if time.Now().After(measured) {
				meter.Played(data)
			}
		},
	})
	meter.Taken = func(n uint64) time.Time { return device.Time(n + 1) }
	staged, n := newStage(t, device, pathConfig{delay: 50 * time.Millisecond, loss: 0.01})
	selectSetting(t, staged, 1)
	began := time.Now()
	measured = began.Add(14 * time.Second)
	written := uint64(0)
	d := &stagetest.IsoDriver{Device: staged, Endpoint: e, URBs: 3, Packets: 6, Room: 192}
	d.Next = func() []byte {
		written++
		return stagetest.Numbered(written-1, 192)
	}
	d.Done = func(u *usb.URB) {
		switch {
		case !e.In():
			meter.Wrote(u)
		case time.Now().After(measured):
			meter.Read(u)
		}
	}
	d.Start()
	time.Sleep(3 * time.Second)
	n.setExtra(250 * time.Millisecond)
	time.Sleep(time.Second)
	n.setExtra(0)
	time.Sleep(13 * time.Second)
	result := meter.Result()
	stop(d)
	_, work := staged.Stats()
	_ = staged.Close()
	if result.Gaps > 0 || result.Packets < 2500 {
		t.Errorf("%d gaps in %d packets", result.Gaps, result.Packets)
	}
	t.Logf("latest after %v; %+v", result.Latest(), work)
}
