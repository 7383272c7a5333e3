//go:build !stockquic

package quiclink

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/isochronous"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// soundHost shares one device.
type soundHost struct{ dev usb.Device }

func (h soundHost) Devices() []tunnel.Device { return []tunnel.Device{session.Describe(h.dev.Info())} }

func (h soundHost) Open(context.Context, tunnel.Attach) (usb.Device, error) {
	return isochronous.NewHost(h.dev), nil
}

// stream describes the packets that a device streams over a link.
type stream struct {
	name     string
	endpoint usb.Endpoint
	speed    usb.Speed
	packets  int // of an URB
	room     int
	size     func(number uint64) int
	bulk     usb.Endpoint  // of a transfer that fills the link as well; 0: none
	warm     time.Duration // after which packets count: the congestion controller starts slowly
}

func cdAudio(number uint64) int {
	if number%10 == 9 {
		return 180
	}
	return 176
}

// TestStreamsHaveNoGapOverQUIC streams with the real engine, congestion controller and
// session over 50 Mbit/s with a round trip of 100 ms and 1 % loss, and counts the packets that
// miss a playout time of 150 ms.
func TestStreamsHaveNoGapOverQUIC(t *testing.T) {
	camera := func(n uint64) int {
		if n%(8000/30) < 33 {
			return 3072
		}
		return 12
	}
	dvd := func(uint64) int { return 192 }
	for _, s := range []stream{
		{"microphone", stagetest.IsoIn, usb.SpeedFull, 6, 180, cdAudio, 0, 0},
		{"speaker", stagetest.IsoOut, usb.SpeedFull, 6, 180, cdAudio, 0, 0},
		{"speaker next to a transfer", stagetest.IsoOut, usb.SpeedFull, 6, 192, dvd, stagetest.IsoBulkOut, 0},
		{"microphone next to a transfer", stagetest.IsoIn, usb.SpeedFull, 6, 192, dvd, stagetest.IsoBulkIn, 0},
		{"camera", stagetest.IsoIn, usb.SpeedHigh, 32, 3072, camera, 0, 4 * time.Second},
	} {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { streamOverQUIC(t, s) })
		})
	}
}

func streamOverQUIC(t *testing.T, s stream) {
	meter := &stagetest.IsoMeter{Size: s.size, Playout: 150 * time.Millisecond}
	device := stagetest.NewIsoDevice(stagetest.IsoConfig{
		Speed: s.speed, Interval: 1, Class: 1, Played: meter.Played,
		Packet: func(n uint64) []byte { return stagetest.Numbered(n, s.size(n)) },
	})
	meter.Taken = func(n uint64) time.Time { return device.Time(n + 1) }
	remote, stop := attachOverQUIC(t, device)
	defer stop()
	staged, reason := isochronous.New(remote)
	if staged == nil {
		t.Fatal(reason)
	}
	set := &usb.URB{Setup: usb.Setup{Type: 1, Request: 11, Value: 1}.Bytes()}
	if status := usb.Do(t.Context(), staged, set); status != usb.StatusOK {
		t.Fatalf("alternate setting: status %d", status)
	}
	if s.bulk != 0 {
		fill(staged, s.bulk)
		time.Sleep(2 * time.Second)
	}
	d := &stagetest.IsoDriver{Device: staged, Endpoint: s.endpoint, URBs: 3, Packets: s.packets, Room: s.room}
	began := time.Now()
	d.Done = func(u *usb.URB) {
		if time.Since(began) >= s.warm {
			meter.Read(u)
		}
	}
	written := uint64(0)
	if !s.endpoint.In() {
		d.Done = meter.Wrote
		d.Next = func() []byte {
			written++
			return stagetest.Numbered(written-1, s.size(written-1))
		}
	}
	d.Start()
	time.Sleep(s.warm + 3*time.Second)
	result := meter.Result()
	d.Stop()
	_, work := staged.Stats()
	if err := staged.Close(); err != nil {
		t.Error(err)
	}
	if result.Gaps > 0 || result.Packets < 2500 {
		t.Errorf("%d gaps in %d packets; %+v", result.Gaps, result.Packets, work)
	}
	t.Logf("%d packets, latest after %v; %+v", result.Packets, result.Latest(), work)
}

// fill keeps a large transfer going.
func fill(dev usb.Device, e usb.Endpoint) {
	for range 64 {
		u := &usb.URB{Endpoint: e, Data: make([]byte, 64<<10)}
		u.Done = func(u *usb.URB) {
			if u.Status == usb.StatusOK {
				dev.Submit(u)
			}
		}
		dev.Submit(u)
	}
}

// attachOverQUIC attaches a device through two sessions and a link. The caller stops them.
func attachOverQUIC(t *testing.T, device usb.Device) (remote usb.Device, stop func()) {
	t.Helper()
	dialerPipe, acceptorPipe := packetPipes()
	for i, p := range []*packetPipe{dialerPipe, acceptorPipe} {
		p.shape = &shape{
			rate: 50e6 / 8, queue: 100 * time.Millisecond, delay: 50 * time.Millisecond, loss: 0.01,
			random: rand.New(rand.NewPCG(uint64(i), 1)),
		}
	}
	dialer, acceptor, stopLinks := linkOverPipes(t, dialerPipe, acceptorPipe)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	join := func(l *quicLink, remote *quicLink, host session.Host) *session.Session {
		s, err := session.New(session.Config{
			Local: remote.Info().Peer, Remote: l.Info().Peer, Host: host, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = s.Run(ctx) })
		s.Join(l)
		return s
	}
	a, b := dialer.(*quicLink), acceptor.(*quicLink)
	client := join(a, b, nil)
	join(b, a, soundHost{device})
	remote, err := client.Attach(ctx, tunnel.Attach{Device: device.Info().ID, Isochronous: true})
	if err != nil {
		t.Fatal(fmt.Errorf("attach: %w", err))
	}
	return remote, func() {
		cancel()
		running.Wait()
		stopLinks()
	}
}
