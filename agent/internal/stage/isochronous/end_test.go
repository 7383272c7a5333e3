package isochronous_test

import (
	"math/rand/v2"
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
	in, out *driver
	good    atomic.Int64 // packets that the driver got
}

// play runs a scene in virtual time: both directions stream for two seconds, and then test
// is called.
func play(t *testing.T, test func(t *testing.T, sc *scene)) {
	synctest.Test(t, func(t *testing.T) {
		sc := &scene{}
		sc.device = stagetest.NewIsoDevice(stagetest.IsoConfig{
			Speed: usb.SpeedHigh, Interval: 4, Class: 1, Packet: func(n uint64) []byte { return numbered(n, 192) },
		})
		sc.staged, sc.network = newStage(t, sc.device, pathConfig{delay: 20 * time.Millisecond, loss: 0.01})
		selectSetting(t, sc.staged, 1)
		sc.in = &driver{dev: sc.staged, endpoint: stagetest.IsoIn, urbs: 3, packets: 6, room: 192}
		sc.in.done = func(u *usb.URB) {
			for _, p := range u.Packets {
				if p.Actual > 0 {
					sc.good.Add(1)
				}
			}
		}
		sc.out = &driver{
			dev: sc.staged, endpoint: stagetest.IsoOut, urbs: 3, packets: 6,
			next: func() []byte { return make([]byte, 192) },
		}
		sc.in.start()
		sc.out.start()
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
		if n := sc.in.left() + sc.out.left(); n > 0 {
			t.Errorf("%d URBs of the driver never completed", n)
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

// wantStatus fails the test unless all URBs of the driver have ended with a status.
func (d *driver) wantStatus(t *testing.T, want usb.Status) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) > 0 || len(d.odd) != d.urbs {
		t.Errorf("endpoint %#x: %d URBs are pending, %d have ended", uint8(d.endpoint), len(d.pending), len(d.odd))
	}
	for _, s := range d.odd {
		if s != want {
			t.Errorf("endpoint %#x: status %d, want %d", uint8(d.endpoint), s, want)
		}
	}
}

func TestUnlinkedStreamStopsAtTheDevice(t *testing.T) {
	play(t, func(t *testing.T, sc *scene) {
		if n := sc.in.stop() + sc.out.stop(); n > 0 {
			t.Errorf("%d URBs are left", n)
		}
		sc.in.wantStatus(t, usb.StatusReset)
		time.Sleep(time.Second)
		sc.wantNothingPosted(t)
		sc.good.Store(0)
		sc.in.start() // and begins again without another request
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
				sc.in.wantStatus(t, usb.StatusShutdown)
				sc.out.wantStatus(t, usb.StatusShutdown)
				sc.wantNothingPosted(t)
			})
		})
	}
}

func TestUnplugEndsStreams(t *testing.T) {
	play(t, func(t *testing.T, sc *scene) {
		sc.device.Unplug()
		time.Sleep(100 * time.Millisecond)
		sc.in.wantStatus(t, usb.StatusNoDevice)
		sc.out.wantStatus(t, usb.StatusNoDevice)
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
		sc.in.wantStatus(t, usb.StatusShutdown)
		sc.out.wantStatus(t, usb.StatusShutdown)
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
			d := &driver{dev: staged, endpoint: e, urbs: 3, packets: 6, room: 100}
			d.next = func() []byte { return make([]byte, 100) }
			d.start()
			time.Sleep(500 * time.Millisecond)
			d.mu.Lock()
			odd := len(d.odd)
			d.mu.Unlock()
			if odd != d.urbs {
				t.Errorf("endpoint %#x: %d URBs have ended", uint8(e), odd)
			}
			d.wantStatus(t, usb.StatusNoMemory)
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
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			device := stagetest.NewIsoDevice(stagetest.IsoConfig{
				Speed: usb.SpeedHigh, Interval: 4, Class: 1, Packet: func(n uint64) []byte { return numbered(n, 192) },
			})
			staged, n := newStage(t, device, pathConfig{delay: time.Millisecond})
			selectSetting(t, staged, 1)
			in := &driver{dev: staged, endpoint: stagetest.IsoIn, urbs: 2, packets: 4, room: 192}
			out := &driver{dev: staged, endpoint: stagetest.IsoOut, urbs: 2, packets: 4}
			out.next = func() []byte { return make([]byte, 192) }
			in.start()
			out.start()
			random := rand.New(rand.NewPCG(seed, 1))
			for i := 0; i+3 < len(input) && i < 400; i += 4 {
				n.receive[i/4%2](hostileFrame(input[i:i+4], random))
				time.Sleep(time.Duration(input[i]) * 100 * time.Microsecond)
			}
			in.stop()
			out.stop()
			_ = staged.Close()
			synctest.Wait()
			if now, _ := device.Pending(); now > 0 || in.left()+out.left() > 0 {
				t.Errorf("%d URBs at the device, %d and %d of the drivers", now, in.left(), out.left())
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
