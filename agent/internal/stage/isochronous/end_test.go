package isochronous_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/isochronous"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// scene is a stage above a path to a device, with a driver for each direction.
type scene struct {
	device  *stagetest.IsoDevice
	network *network
	staged  *isochronous.Stage
	in, out *stagetest.IsoDriver
	good    atomic.Int64 // packets that the driver got
}

// play runs a scene in virtual time: both directions stream for two seconds, and then test
// is called.
func play(t *testing.T, test func(t *testing.T, sc *scene)) {
	synctest.Test(t, func(t *testing.T) {
		sc := &scene{}
		sc.device = stagetest.NewIsoDevice(stagetest.IsoConfig{
			Speed: usb.SpeedHigh, Interval: 4, Class: 1,
			Packet: func(n uint64) []byte { return stagetest.Numbered(n, 192) },
		})
		sc.staged, sc.network = newStage(t, sc.device, pathConfig{delay: 20 * time.Millisecond, loss: 0.01})
		selectSetting(t, sc.staged, 1)
		sc.in = &stagetest.IsoDriver{Device: sc.staged, Endpoint: stagetest.IsoIn, URBs: 3, Packets: 6, Room: 192}
		sc.in.Done = func(u *usb.URB) {
			for _, p := range u.Packets {
				if p.Actual > 0 {
					sc.good.Add(1)
				}
			}
		}
		sc.out = &stagetest.IsoDriver{
			Device: sc.staged, Endpoint: stagetest.IsoOut, URBs: 3, Packets: 6,
			Next: func() []byte { return make([]byte, 192) },
		}
		sc.in.Start()
		sc.out.Start()
		time.Sleep(2 * time.Second)
		if got := sc.good.Load(); got < 1500 {
			t.Errorf("%d packets in two seconds", got)
		}
		if now, _ := sc.device.Pending(); now == 0 {
			t.Error("the device has no URBs")
		}
		test(t, sc)
		_ = sc.staged.Close()
		synctest.Wait()
		for _, d := range []*stagetest.IsoDriver{sc.in, sc.out} {
			if left, _ := d.Pending(); left > 0 {
				t.Errorf("%d URBs of endpoint %#x never completed", left, uint8(d.Endpoint))
			}
		}
		sc.wantNothingPosted(t)
	})
}

func (sc *scene) wantNothingPosted(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if now, _ := sc.device.Pending(); now > 0 {
		t.Errorf("the device has %d URBs", now)
	}
}

// wantStatus fails the test unless all URBs of a driver have ended with a status.
func wantStatus(t *testing.T, d *stagetest.IsoDriver, want usb.Status) {
	t.Helper()
	synctest.Wait()
	left, ended := d.Pending()
	if left > 0 || len(ended) != d.URBs {
		t.Errorf("endpoint %#x: %d URBs are pending, %d have ended", uint8(d.Endpoint), left, len(ended))
	}
	for _, s := range ended {
		if s != want {
			t.Errorf("endpoint %#x: status %d, want %d", uint8(d.Endpoint), s, want)
		}
	}
}

func TestUnlinkedStreamStopsAtTheDevice(t *testing.T) {
	play(t, func(t *testing.T, sc *scene) {
		if n := stop(sc.in) + stop(sc.out); n > 0 {
			t.Errorf("%d URBs are left", n)
		}
		wantStatus(t, sc.in, usb.StatusReset)
		time.Sleep(time.Second)
		sc.wantNothingPosted(t)
		sc.good.Store(0)
		sc.in.Start() // and begins again without another request
		time.Sleep(time.Second)
		if got := sc.good.Load(); got < 800 {
			t.Errorf("%d packets in a second after the driver was bound again", got)
		}
	})
}

func TestControlRequestEndsStreams(t *testing.T) {
	for name, setup := range map[string]usb.Setup{
		"alternate setting": {Type: 1, Request: 11, Value: 0},
		"configuration":     {Type: 0, Request: 9, Value: 1},
		"reset":             {Type: 0x23, Request: 3, Value: 4, Index: 1},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, sc *scene) {
				if s := usb.Do(t.Context(), sc.staged, &usb.URB{Setup: setup.Bytes()}); s != usb.StatusOK {
					t.Errorf("status %d", s)
				}
				wantStatus(t, sc.in, usb.StatusShutdown)
				wantStatus(t, sc.out, usb.StatusShutdown)
				sc.wantNothingPosted(t)
			})
		})
	}
}

func TestUnplugEndsStreams(t *testing.T) {
	play(t, func(t *testing.T, sc *scene) {
		sc.device.Unplug()
		time.Sleep(100 * time.Millisecond)
		wantStatus(t, sc.in, usb.StatusNoDevice)
		wantStatus(t, sc.out, usb.StatusNoDevice)
	})
}

func TestStreamsSurviveLossOfLink(t *testing.T) {
	play(t, func(t *testing.T, sc *scene) {
		sc.network.setDown(true)
		time.Sleep(3 * time.Second)
		sc.wantNothingPosted(t)
		sc.network.setDown(false)
		time.Sleep(2 * time.Second)
		sc.good.Store(0)
		_, before := sc.staged.Stats()
		time.Sleep(2 * time.Second)
		_, after := sc.staged.Stats()
		if got := sc.good.Load(); got < 1900 {
			t.Errorf("%d packets in two seconds after the link was up again", got)
		}
		if before.Lost < 2000 || after.Lost+after.Late > before.Lost+before.Late {
			t.Errorf("counts after the loss %+v, and later %+v", before, after)
		}
		if now, _ := sc.device.Pending(); now == 0 {
			t.Error("the device has no URBs")
		}
	})
}

func TestCloseEndsStreams(t *testing.T) {
	play(t, func(t *testing.T, sc *scene) {
		_ = sc.staged.Close()
		wantStatus(t, sc.in, usb.StatusShutdown)
		wantStatus(t, sc.out, usb.StatusShutdown)
	})
}

// stubbornDevice is a device that refuses isochronous URBs.
type stubbornDevice struct{ *stagetest.IsoDevice }

func (d stubbornDevice) Submit(u *usb.URB) {
	if len(u.Packets) > 0 {
		u.Finish(usb.StatusNoMemory)
		return
	}
	d.IsoDevice.Submit(u)
}

func TestDriverSeesWhyTheDeviceRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := stagetest.NewIsoDevice(stagetest.IsoConfig{Speed: usb.SpeedFull, Interval: 1})
		staged, _ := newStage(t, stubbornDevice{device}, pathConfig{delay: 20 * time.Millisecond})
		selectSetting(t, staged, 1)
		for _, e := range []usb.Endpoint{stagetest.IsoIn, stagetest.IsoOut} {
			d := &stagetest.IsoDriver{Device: staged, Endpoint: e, URBs: 3, Packets: 6, Room: 100}
			d.Next = func() []byte { return make([]byte, 100) }
			d.Start()
			time.Sleep(500 * time.Millisecond)
			wantStatus(t, d, usb.StatusNoMemory)
		}
		_ = staged.Close()
	})
}

func TestNoStageWithoutAgreement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := stagetest.NewIsoDevice(stagetest.IsoConfig{Speed: usb.SpeedFull, Interval: 1})
		if !isochronous.Fits(device.Info()) {
			t.Error("the stage does not fit")
		}
		if s, reason := isochronous.New(device); s != nil || reason == "" {
			t.Errorf("an old host: %v, %q", s, reason)
		}
		_ = device.Close()
	})
}

// FuzzFrames sends hostile frames to both halves while streams run.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, uint64(1))
	f.Add([]byte("a210"), uint64(222))
	f.Add([]byte("\x01000\x02100"), uint64(71))
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			device := stagetest.NewIsoDevice(stagetest.IsoConfig{
				Speed: usb.SpeedHigh, Interval: 4, Class: 1,
				Packet: func(n uint64) []byte { return stagetest.Numbered(n, 192) },
			})
			staged, n := newStage(t, device, pathConfig{delay: time.Millisecond})
			selectSetting(t, staged, 1)
			in := &stagetest.IsoDriver{Device: staged, Endpoint: stagetest.IsoIn, URBs: 2, Packets: 4, Room: 192}
			out := &stagetest.IsoDriver{Device: staged, Endpoint: stagetest.IsoOut, URBs: 2, Packets: 4}
			out.Next = func() []byte { return make([]byte, 192) }
			in.Start()
			out.Start()
			random := rand.New(rand.NewPCG(seed, 1))
			for i := 0; i+3 < len(input) && i < 400; i += 4 {
				n.receive[i/4%2](hostileFrame(input[i:i+4], random))
				time.Sleep(time.Duration(input[i]) * 100 * time.Microsecond)
			}
			stop(in)
			stop(out)
			_ = staged.Close()
			left := stop(in) + stop(out)
			if now, _ := device.Pending(); now > 0 || left > 0 {
				t.Errorf("%d URBs at the device, %d of the drivers", now, left)
			}
		})
	})
}

// hostileFrame returns a frame that fits the protocol, and nothing else.
func hostileFrame(b []byte, random *rand.Rand) tunnel.Frame {
	stream, number := uint32(b[1]&3), random.Uint64()>>(b[2]&63)
	f := tunnel.Frame{Lane: tunnel.EndpointLane(1, []uint8{0x81, 0x02, 0x83}[b[0]%3])}
	switch b[3] % 3 {
	case 0:
		f.Kind = tunnel.KindIsoReport
		f.Body = tunnel.IsoReport{
			Stream: stream, Stop: b[0]&64 != 0, Refuse: b[0]&32 != 0, Room: uint32(number % 4000),
			Interval: uint32(random.Uint64() >> (b[2] & 63)), Elapsed: number, Margin: int32(number),
			Loss: uint16(number), Late: uint32(number),
		}.Encode()
	default:
		f.Kind = tunnel.KindShard
		block := tunnel.IsoBlock{First: number, Packets: make([]tunnel.IsoPacket, 1+b[1]>>2)}.Encode()
		f.Body = tunnel.Shard{
			Stream: stream, Block: uint32(random.Uint64() >> (b[2] & 63)), Length: uint32(len(block)), Data: 1,
			Bytes: block,
		}.Encode()
	}
	return f
}

// TestSoundIsPlayedToItsEnd plays a sound and selects alternate setting 0 once the driver has
// seen the last packet as played, as "aplay" does.
func TestSoundIsPlayedToItsEnd(t *testing.T) {
	for _, urbs := range []int{2, 5, 100} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			played := 0
			device := stagetest.NewIsoDevice(stagetest.IsoConfig{
				Speed: usb.SpeedFull, Interval: 1, Class: 1,
				Played: func(data []byte) {
					mu.Lock()
					defer mu.Unlock()
					if !bytes.Equal(data, make([]byte, len(data))) {
						played++
					}
				},
			})
			staged, _ := newStage(t, device, pathConfig{delay: 50 * time.Millisecond})
			selectSetting(t, staged, 1)
			submitted := 0
			d := &stagetest.IsoDriver{Device: staged, Endpoint: stagetest.IsoOut, URBs: 2, Packets: 6}
			d.Next = func() []byte {
				submitted++
				if submitted > urbs*6 {
					return make([]byte, 192)
				}
				return stagetest.Numbered(uint64(submitted), 192)
			}
			completed, done := 0, make(chan struct{})
			d.Done = func(*usb.URB) {
				if completed++; completed == urbs {
					close(done)
				}
			}
			d.Start()
			<-done
			stop(d)
			selectSetting(t, staged, 0)
			if now, _ := device.Pending(); now > 0 || played != urbs*6 {
				t.Errorf("%d of %d packets were played, %d URBs are posted", played, urbs*6, now)
			}
			_ = staged.Close()
		})
	}
}
