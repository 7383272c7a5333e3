package agent_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stagetest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

var (
	benchIsochronous     = flag.Bool("bench-isochronous", false, "measure audio and video over emulated links")
	benchIsochronousTime = flag.Duration("bench-isochronous-time", 20*time.Second, "length of each measurement")
)

// isoFormat is a stream of packets.
type isoFormat struct {
	name     string
	endpoint usb.Endpoint
	speed    usb.Speed
	class    uint8
	packets  int // of an URB
	room     int
	size     func(number uint64) int
}

var isoFormats = []isoFormat{
	{"microphone, 48 kHz", stagetest.IsoIn, usb.SpeedFull, 1, 6, 192, func(uint64) int { return 192 }},
	{"microphone, 44.1 kHz", stagetest.IsoIn, usb.SpeedFull, 1, 6, 180, cdAudio},
	{"speaker, 48 kHz", stagetest.IsoOut, usb.SpeedFull, 1, 6, 192, func(uint64) int { return 192 }},
	{"speaker, 44.1 kHz", stagetest.IsoOut, usb.SpeedFull, 1, 6, 180, cdAudio},
	{"camera, 24 Mbit per s", stagetest.IsoIn, usb.SpeedHigh, 14, 32, 3072, func(n uint64) int {
		if at := n % (8000 / 30); at < 33 {
			return 3072
		}
		return 12
	}},
}

// cdAudio returns the size of a packet of 44.1 kHz stereo in frames of 1 ms.
func cdAudio(number uint64) int {
	if number%10 == 9 {
		return 180
	}
	return 176
}

// TestBenchIsochronous counts the packets that miss a playout time of 150 ms, with and without
// the stage.
func TestBenchIsochronous(t *testing.T) {
	if !*benchIsochronous {
		t.Skip("a benchmark, run by make bench-isochronous")
	}
	fmt.Printf("%-35s %-5s %-22s %-6s %9s %8s %8s %8s\n", "isochronous streams, 150 ms playout", "link", "stream",
		"stage", "packets", "gaps", "p99 ms", "most ms")
	for _, loss := range []float64{0, 0.01} {
		for _, transport := range []string{"quic", "tls"} {
			for _, f := range isoFormats {
				for _, staged := range []bool{true, false} {
					t.Run(fmt.Sprintf("%g %%/%s/%s/stage=%t", loss*100, transport, f.name, staged), func(t *testing.T) {
						benchStream(t, f, transport, loss, staged)
					})
				}
			}
		}
	}
}

// benchStream measures a stream and prints the result.
func benchStream(t *testing.T, f isoFormat, transport string, loss float64, staged bool) {
	c := lab.Impair{Rate: 50, Delay: 50 * time.Millisecond, Loss: loss}
	l := lab.Start(t, &lab.Topology{Prefix: "ef-iso-", Seed: 1, Nodes: []lab.Node{
		{Name: "inet", LAN: []string{"198.51.100.1/24"}},
		{Name: "a", Via: "inet", Addr: []string{"198.51.100.10/24"}},
		{Name: "b", Via: "inet", Addr: []string{"198.51.100.20/24"}, Link: &lab.Link{Impair: c}},
	}})
	r := measureStream(t, f, labDialer(t, l, transport), staged)
	slices.Sort(r.Late)
	p99 := time.Duration(0)
	if n := len(r.Late); n > 0 {
		p99 = r.Late[n*99/100]
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	fmt.Printf("%-35s %-5s %-22s %-6t %9d %8d %8.1f %8.1f\n", fmt.Sprintf("50 Mbit/s, 100 ms, %g %% loss", loss*100),
		transport, f.name, staged, r.Packets, r.Gaps, ms(p99), ms(r.Latest()))
}

// measureStream streams for a while.
func measureStream(t *testing.T, f isoFormat, dial dialer, staged bool) stagetest.IsoResult {
	t.Helper()
	meter := &stagetest.IsoMeter{Size: f.size, Playout: 150 * time.Millisecond}
	device := stagetest.NewIsoDevice(stagetest.IsoConfig{
		Speed: f.speed, Interval: 1, Class: f.class, Played: meter.Played,
		Packet: func(n uint64) []byte { return stagetest.Numbered(n, f.size(n)) },
	})
	meter.Taken = func(n uint64) time.Time { return device.Time(n + 1) }
	dev := stage.Wrap(throughSession(t, device, dial), stage.Config{Off: !staged})
	defer dev.Close()
	set := &usb.URB{Setup: usb.Setup{Type: 1, Request: 11, Value: 1}.Bytes()}
	if status := usb.Do(t.Context(), dev, set); status != usb.StatusOK {
		t.Fatalf("alternate setting: status %d", status)
	}
	d := &stagetest.IsoDriver{
		Device: dev, Endpoint: f.endpoint, URBs: 3, Packets: f.packets, Room: f.room, Done: meter.Read,
	}
	written := uint64(0)
	if !f.endpoint.In() {
		d.Done = meter.Wrote
		d.Next = func() []byte {
			written++
			return stagetest.Numbered(written-1, f.size(written-1))
		}
	}
	d.Start()

	select {
	case <-time.After(*benchIsochronousTime):
	case <-dev.Gone():
		t.Error("the device is gone")
	}
	r := meter.Result()
	d.Stop()
	if !staged {
		return r
	}
	for _, s := range dev.Stats() {
		t.Logf("%+v", s)
		if s.Off != "" || s.Name == "isochronous" && s.Commands == 0 {
			t.Errorf("stage %s: %+v", s.Name, s)
		}
	}
	return r
}
