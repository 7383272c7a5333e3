package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The small files: their number, and the bytes of each.
const (
	smallFiles = 64
	smallFile  = 8 << 10
)

// Times of the measurements.
const (
	largeTime  = "3s" // of reading or writing large blocks
	smallTime  = "3s" // of reading small ones
	filesTime  = "8s" // of copying small files
	echoTime   = "2s" // of the serial line
	audioTime  = "3s" // of playing sound
	mouseTime  = 2 * time.Second
	mouseRate  = 125             // reports in a second, as of an ordinary mouse
	mouseAfter = 3 * time.Second // until the last reports have arrived
)

// way describes how devices travel from s to c.
type way struct {
	key, name string
	transport string   // of the link between the agents; empty for stock usbip
	flags     []string // of both agents
}

var ways = []way{
	{key: "usbip", name: "usbip"},
	{key: "quic", name: "EasyFind, QUIC", transport: "quic", flags: []string{"--tls-listen="}},
	{key: "tls", name: "EasyFind, TLS", transport: "tls"},
}

// sample holds the figures of one measurement of one way in one cell, by their keys in
// measures. A measure with a population of values has several.
type sample map[string][]float64

func (s sample) String() string {
	var words []string
	for _, m := range measures {
		if v := s[m.key]; len(v) > 0 {
			words = append(words, fmt.Sprintf("%s %s %s", m.key, rounded(quantile(v, 0.5)), m.unit))
		}
	}
	return strings.Join(words, ", ")
}

// measure measures all devices.
func (b *bench) measure(t *testing.T, w way) sample {
	t.Helper()
	s := sample{}
	defer b.c.must(t, commandTimeout, detachAll)
	if w.transport != "" {
		b.noUDP(t, w.transport == "tls")
		defer b.noUDP(t, false)
		defer b.down(t)
		b.up(t, w.flags)
		defer b.releaseAll(t)
	}
	parts := strings.Fields(*benchParts)
	disk := b.attachDisk(t, w, s)
	if w.transport != "" {
		// The link may have started over a relay.
		b.client.peer(t, b.host.name, commandTimeout, func(p peerStatus) bool {
			return strings.HasPrefix(p.Link.Rank, "direct") && p.Link.Transport == w.transport
		})
	}
	if slices.Contains(parts, "disk") {
		b.measureDisk(t, disk, s)
	}
	if slices.Contains(parts, "files") {
		b.measureFiles(t, disk, s)
	}
	b.detach(t, w, "disk")
	for _, d := range []struct {
		name    string
		measure func(*testing.T, sample)
	}{{"mouse", b.measureMouse}, {"serial", b.measureSerial}, {"audio", b.measureAudio}} {
		if slices.Contains(parts, d.name) {
			b.attach(t, w, d.name)
			d.measure(t, s)
			b.detach(t, w, d.name)
		}
	}
	return s
}

// attachCommand returns the command with which the guest attaches a device. Through
// EasyFind, the agent uses the device first.
func (b *bench) attachCommand(t *testing.T, w way, name string) []string {
	t.Helper()
	id, server := b.ids[name], addressS
	if w.transport != "" {
		u := b.client.use(t, b.host.name, id, "--endpoint")
		id, server = u.BusID, addressK
	}
	return []string{"usbip", "attach", "-r", server, "-b", id}
}

// ready waits until s exports a device again: it resets devices that were used.
func (b *bench) ready(t *testing.T, name string) {
	t.Helper()
	b.s.must(t, commandTimeout, "until usbip list -r 127.0.0.1 | grep -q ' "+b.ids[name]+":'; do usleep 100000; done")
}

// attachDisk attaches the disk and measures the time until a block can be read: of the
// command "use", if any, and of "usbip attach".
func (b *bench) attachDisk(t *testing.T, w way, s sample) (disk string) {
	t.Helper()
	b.ready(t, "disk")
	began := time.Now()
	command := b.attachCommand(t, w, "disk")
	use := time.Since(began).Seconds()
	if w.transport == "" {
		use = 0
	}
	var a struct {
		Disk    string
		Seconds float64
	}
	b.c.devbench(t, &a, append([]string{"appear"}, command...)...)
	s["ready"] = []float64{use + a.Seconds}
	return a.Disk
}

func (b *bench) attach(t *testing.T, w way, name string) {
	t.Helper()
	b.ready(t, name)
	b.c.must(t, commandTimeout, strings.Join(b.attachCommand(t, w, name), " "))
}

func (b *bench) detach(t *testing.T, w way, name string) {
	t.Helper()
	b.c.must(t, commandTimeout, detachUSBIP)
	if name == "disk" {
		b.c.must(t, commandTimeout, diskIsGone)
	}
	if w.transport != "" {
		b.client.must(t, nil, "release", b.ids[name])
	}
}

// detachUSBIP detaches the only device that usbip has attached.
const detachUSBIP = `usbip detach -p "$(usbip port 2>/dev/null | sed -n 's/^Port \([0-9]*\):.*/\1/p')"`

// releaseAll releases what a failed measurement still uses; otherwise the client would use
// it again after its next start.
func (b *bench) releaseAll(t *testing.T) {
	t.Helper()
	for _, u := range b.client.status(t).Uses {
		b.client.must(t, nil, "release", u.ID)
	}
}

// detachAll detaches what a failed measurement has left attached.
const detachAll = `umount /mnt 2>/dev/null
	usbip port 2>/dev/null | sed -n 's/^Port \([0-9]*\):.*/\1/p' | while read -r p; do usbip detach -p "$p"; done`

// measureDisk reads and writes the attached disk without its file system.
func (b *bench) measureDisk(t *testing.T, disk string, s sample) {
	t.Helper()
	var r struct {
		Bytes, Seconds float64
		Milliseconds   []float64
	}
	rate := func() []float64 { return []float64{r.Bytes / r.Seconds / 1e6} }
	from := fmt.Sprint("-from=", int64(rawFrom))
	b.c.devbench(t, &r, "read", from, "-for", largeTime, "/dev/"+disk)
	s["read"] = rate()
	b.c.devbench(t, &r, "read", from, "-streams", "4", "-for", largeTime, "/dev/"+disk)
	s["streams"] = rate()
	b.c.devbench(t, &r, "read", from, "-block", "4096", "-random", "-most", "500", "-for", smallTime, "/dev/"+disk)
	s["small"] = r.Milliseconds
	b.c.devbench(t, &r, "write", from, "-most", "256", "-for", largeTime, "/dev/"+disk)
	s["write"] = rate()
}

// measureFiles copies small files from and to the disk's file system.
func (b *bench) measureFiles(t *testing.T, disk string, s sample) {
	t.Helper()
	var r struct{ Files, Seconds float64 }
	b.c.must(t, commandTimeout, "mount -t ext4 /dev/"+disk+" /mnt; echo 3 > /proc/sys/vm/drop_caches")
	b.c.devbench(t, &r, "copy", "-for", filesTime, "/mnt/files", "/tmp/files")
	s["filesout"] = []float64{r.Files / r.Seconds}
	b.c.devbench(t, &r, "copy", "-for", filesTime, "/tmp/files", "/mnt/new")
	s["filesin"] = []float64{r.Files / r.Seconds}
	b.c.must(t, commandTimeout, "rm -r /mnt/new /tmp/files && umount /mnt")
}

// measureMouse moves the pointer mouseRate times a second and counts the reports that
// arrive.
func (b *bench) measureMouse(t *testing.T, s sample) {
	t.Helper()
	event := b.c.must(t, commandTimeout, `until f=$(grep -l "USB Tablet" /sys/class/input/event*/device/name) &&
		e=/dev/input/$(echo "$f" | cut -d/ -f5) && test -c "$e"; do usleep 100000; done; echo "$e"`)
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	listening := &firstLine{line: make(chan []byte, 1)}
	var stdout bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		code, err := b.c.Stream(ctx, nil, &stdout, listening,
			"devbench", "events", "-for", (mouseTime + mouseAfter).String(), event)
		if err == nil {
			err = exitStatus(code)
		}
		ended <- err
	}()
	select {
	case <-listening.line:
	case err := <-ended:
		t.Fatal(err)
	}
	const moves = int(mouseRate * mouseTime / time.Second)
	if err := b.s.MovePointer(ctx, moves, mouseRate); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var r struct{ Reports float64 }
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	s["mouse"] = []float64{100 * r.Reports / float64(moves)}
}

// measureSerial sends single bytes over the serial line, whose other end sends them back.
func (b *bench) measureSerial(t *testing.T, s sample) {
	t.Helper()
	b.c.must(t, commandTimeout,
		"until test -c /dev/ttyUSB0; do usleep 100000; done; stty -F /dev/ttyUSB0 115200 raw -echo")
	line, err := net.Dial("unix", filepath.Join(b.s.dir, "serial.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(line, line) // ends when line is closed
	}()
	defer func() {
		line.Close()
		<-ended
	}()
	var r struct{ Milliseconds []float64 }
	b.c.devbench(t, &r, "echo", "-for", echoTime, "/dev/ttyUSB0")
	s["serial"] = r.Milliseconds
}

// measureAudio plays sound and measures how much of it the device takes in time. Where
// packets are lost, stock usbip may leave the sound card stuck until its guest ends.
// Therefore it is not measured by default.
func (b *bench) measureAudio(t *testing.T, s sample) {
	t.Helper()
	const card, soundRate = "/dev/snd/pcmC0D0p", 48000
	b.c.must(t, commandTimeout, "until test -c "+card+"; do usleep 100000; done")
	var r struct{ Frames, Seconds float64 }
	b.c.devbench(t, &r, "play", "-for", audioTime, card)
	s["audio"] = []float64{100 * r.Frames / r.Seconds / soundRate}
}
