package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

var (
	benchUSB    = flag.Bool("bench-usb", false, "measure a remote disk and stock usbip, for up to -bench-time")
	benchWrite  = flag.Bool("bench-write", false, "write the figures to deploy/docs/benchmarks.md")
	benchTime   = flag.Duration("bench-time", 25*time.Minute, "start no round that would end later")
	benchRounds = flag.Int("bench-rounds", 3, "measurements of each cell")
	benchCells  = flag.String(
		"bench-cells",
		"0/0 0/1 20/0 20/1 50/0 50/1 100/0 100/1",
		"round trip in ms / loss in %, of each cell",
	)
)

// cell is a condition of the network between the guests.
type cell struct {
	rtt  time.Duration // added by the link, half in each direction
	loss float64       // probability that a packet is lost, in each direction
}

func (c cell) String() string {
	return fmt.Sprintf("RTT %d ms, loss %g %%", c.rtt.Milliseconds(), c.loss*100)
}

// cells parses -bench-cells.
func cells(t *testing.T) []cell {
	t.Helper()
	var all []cell
	for _, word := range strings.Fields(*benchCells) {
		rtt, loss, _ := strings.Cut(word, "/")
		ms, errRTT := strconv.Atoi(rtt)
		percent, errLoss := strconv.ParseFloat(loss, 64)
		if errRTT != nil || errLoss != nil {
			t.Fatalf("-bench-cells: %q is no round trip and loss, such as 50/1", word)
		}
		all = append(all, cell{time.Duration(ms) * time.Millisecond, percent / 100})
	}
	return all
}

// sample is one measurement of one way in one cell.
type sample struct {
	appears    float64   // seconds from the start of the command until a block could be read
	command    float64   // seconds until the command ended
	sequential float64   // MB/s, 1 MiB at a time
	small      []float64 // ms of each read of 4 KiB at a random offset
	path       string    // the path that carried the disk
}

// way connects the disk to the client.
type way struct {
	name    string
	measure func(*testing.T, *bench) sample
}

var ways = []way{{"usbip", measureUSBIP}, {"EasyFind", measureEasyFind}}

// TestBenchUSB measures the same disk in the same two guests over the same emulated
// link, alternately through Linux's usbip and through EasyFind, so that other work of
// this machine affects both.
func TestBenchUSB(t *testing.T) {
	if !*benchUSB {
		t.Skip("a benchmark, run by make bench")
	}
	all := cells(t)
	r := &report{cells: all, samples: map[cell]map[string][]sample{}, rtt: map[cell]float64{}}
	began := time.Now()
	b := startBench(t, r)
	ok := true
	var longest time.Duration
	for round := 0; ok && round < *benchRounds; round++ {
		if left := *benchTime - time.Since(began); round > 0 && left < longest {
			t.Logf(
				"no round %d: it would take %v and %v are left",
				round+1,
				longest.Round(time.Second),
				left.Round(time.Second),
			)
			break
		}
		from := time.Now()
		for i := 0; ok && i < len(all); i++ {
			ok = b.round(t, r, all[i], round)
		}
		longest = max(longest, time.Since(from))
	}
	r.took = time.Since(began)
	fmt.Print(r.tables())
	if *benchWrite && ok {
		r.write(t, filepath.Join("..", "docs", "benchmarks.md"))
	}
}

// bench has a host guest and a client guest that reach each other without a NAT over one
// emulated link:
//
//	guest c ───┬─── inet ─── srv (rendezvous)
//	           └─ emulated link ─── gws ─── guest s
type bench struct {
	lab          *lab.Lab
	s, c         *machine
	host, client *agent
	flags        []string // flags of both agents
	disk         string   // the disk's bus id on s
}

// addressS is the address of the host guest, for usbip.
const addressS = "203.0.113.2"

func startBench(t *testing.T, r *report) *bench {
	t.Helper()
	p := built(t)
	reader := filepath.Join(scratch, "blkbench")
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	if err := guest.GoBuild(ctx, reader, module+"deploy/e2e/guest/blkbench", "CGO_ENABLED=0"); err != nil {
		t.Fatal(err)
	}
	b := &bench{lab: lab.Start(t, &lab.Topology{Prefix: "ef-bench-", Seed: 1, Nodes: []lab.Node{
		{Name: "inet", LAN: []string{"198.51.100.1/24"}},
		{Name: "srv", Via: "inet", Addr: []string{"198.51.100.10/24"}},
		{
			Name: "gws",
			Via:  "inet",
			Addr: []string{"198.51.100.20/24"},
			LAN:  []string{"203.0.113.1/25"},
			Link: &lab.Link{},
		},
	}})}
	rendezvous := startRendezvous(t, b.lab, p)
	image := filepath.Join(t.TempDir(), "disk.img")
	randomFile(t, image, 128<<20, 2)
	files := map[string]string{guestProgram: p.agent, "/usr/bin/blkbench": reader}
	guests := boot(t, guest.Config{
		Name: "s", Image: p.image, Dir: t.TempDir(), Files: files, Modules: []string{"usbip_host"},
		USB: []guest.USB{guest.Disk("disk", image)},
		NIC: &guest.NIC{
			Namespace: b.lab.Namespace("gws"),
			Bridge:    "lan0",
			Addr:      addressS + "/25",
			Gateway:   "203.0.113.1",
		},
	}, guest.Config{
		Name: "c", Image: p.image, Dir: t.TempDir(), Files: files, Modules: []string{
			"vhci_hcd", "usb_storage",
			"sd_mod",
		},
		NIC: &guest.NIC{
			Namespace: b.lab.Namespace("inet"),
			Bridge:    "lan0",
			Addr:      "198.51.100.30/24",
			Gateway:   "198.51.100.1",
		},
	})
	b.s, b.c = guests[0], guests[1]
	for _, m := range guests {
		// A connection must not reuse what TCP learned from an earlier one.
		m.must(t, commandTimeout, "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save")
	}
	b.s.must(t, commandTimeout, "usbipd -D")
	b.s.readDisk(t, b.s.must(t, commandTimeout, awaitDisk), &r.local)
	r.kernel = b.s.must(t, commandTimeout, "uname -r")
	r.congestion = b.s.must(t, commandTimeout, "cat /proc/sys/net/ipv4/tcp_congestion_control")
	t.Logf("on s itself: %v", r.local)

	// Without a TLS listener only QUIC remains, which is to be measured.
	b.flags = []string{"--rendezvous", rendezvous.link, "--tls-listen=", "--usbip-listen=", "--log-level", "INFO"}
	b.host = newAgent(t, "workshop", b.s, guestProgram, guestDir)
	b.client = newAgent(t, "laptop", b.c, guestProgram, guestDir)
	b.up(t)
	pair(t, b.host, b.client)
	b.disk = b.host.device(t, "harddrive").ID
	b.host.must(t, nil, "share", b.disk)
	b.down(t)
	return b
}

// up starts both agents and waits until the rendezvous knows them. A measurement then
// starts without a link between them.
func (b *bench) up(t *testing.T) {
	t.Helper()
	for _, a := range []*agent{b.host, b.client} {
		a.up(t, b.flags...)
		a.has(t, commandTimeout, "the rendezvous", func(s status) bool { return s.Rendezvous.Connected })
	}
}

func (b *bench) down(t *testing.T) {
	t.Helper()
	b.client.stop(t)
	b.host.stop(t)
}

// round measures every way once in a cell; the first one changes with each round.
func (b *bench) round(t *testing.T, r *report, c cell, round int) (ok bool) {
	t.Helper()
	if err := b.lab.SetLink("gws", lab.Link{Impair: lab.Impair{Delay: c.rtt / 2, Loss: c.loss}}); err != nil {
		t.Fatal(err)
	}
	if round == 0 {
		r.samples[c], r.rtt[c] = map[string][]sample{}, b.ping(t)
	}
	order := slices.Clone(ways)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, w := range order {
		ok := t.Run(fmt.Sprintf("%s, %s, round %d", c, w.name, round+1), func(t *testing.T) {
			began := time.Now()
			s := w.measure(t, b)
			r.samples[c][w.name] = append(r.samples[c][w.name], s)
			t.Logf("%s: %s: %v (took %v)", c, w.name, s, time.Since(began).Round(time.Second))
		})
		if !ok {
			return false
		}
	}
	return true
}

// ping returns the mean round trip between the guests in ms.
func (b *bench) ping(t *testing.T) float64 {
	t.Helper()
	out := b.c.must(t, commandTimeout, "ping -q -c 10 -i 0.2 "+addressS+" | tail -1")
	_, figures, _ := strings.Cut(out, "= ")
	f := strings.Split(figures, "/")
	if len(f) < 3 {
		t.Fatalf("ping says %q", out)
	}
	ms, err := strconv.ParseFloat(f[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

func measureUSBIP(t *testing.T, b *bench) sample {
	b.s.must(t, commandTimeout, "usbip bind -b "+b.disk)
	disk, s := b.c.appears(t, "usbip", "attach", "-r", addressS, "-b", b.disk)
	b.c.readDisk(t, disk, &s)
	s.path = "TCP, not encrypted"
	b.c.must(t, commandTimeout, detachUSBIP)
	b.c.must(t, commandTimeout, diskIsGone)
	b.s.must(t, commandTimeout, "until usbip unbind -b "+b.disk+"; do usleep 200000; done")
	b.s.must(t, commandTimeout, awaitDisk)
	return s
}

// detachUSBIP detaches the only device that usbip has attached.
const detachUSBIP = `usbip detach -p "$(usbip port 2>/dev/null | sed -n 's/^Port \([0-9]*\):.*/\1/p')"`

func measureEasyFind(t *testing.T, b *bench) sample {
	b.up(t)
	disk, s := b.c.appears(t, guestProgram, "use", "--socket", guestDir+"/socket", b.host.name, b.disk)
	// The link may have started over a relay.
	p := b.client.peer(
		t,
		b.host.name,
		commandTimeout,
		func(p peerStatus) bool { return strings.HasPrefix(p.Link.Rank, "direct") },
	)
	b.c.readDisk(t, disk, &s)
	s.path = p.Link.Rank + " " + p.Link.Transport
	b.client.must(t, nil, "release", b.disk)
	b.c.must(t, commandTimeout, diskIsGone)
	b.s.must(t, commandTimeout, awaitDisk)
	b.down(t)
	return s
}

// appears runs a command that attaches the disk and measures the time until it is ready.
func (m *machine) appears(t *testing.T, argv ...string) (disk string, s sample) {
	t.Helper()
	var a struct {
		Disk             string
		Seconds, Command float64
	}
	m.blkbench(t, &a, append([]string{"appear"}, argv...)...)
	return a.Disk, sample{appears: a.Seconds, command: a.Command}
}

// readDisk measures an attached disk.
func (m *machine) readDisk(t *testing.T, disk string, s *sample) {
	t.Helper()
	var large, small struct {
		Bytes, Seconds float64
		Milliseconds   []float64
	}
	m.blkbench(t, &large, "read", "-block", "1048576", "-for", "6s", "/dev/"+disk)
	m.blkbench(t, &small, "read", "-block", "4096", "-random", "-for", "5s", "-most", "1000", "/dev/"+disk)
	s.sequential, s.small = large.Bytes/large.Seconds/1e6, small.Milliseconds
}

// blkbench runs blkbench in the guest.
func (m *machine) blkbench(t *testing.T, result any, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code, err := m.Stream(ctx, nil, &stdout, &stderr, append([]string{"blkbench"}, args...)...)
	if err == nil && code == 0 {
		err = json.Unmarshal(stdout.Bytes(), result)
	}
	if err != nil || code != 0 {
		t.Fatalf(
			"blkbench %s: exit %d, %v, %s\nkernel: %s",
			strings.Join(args, " "),
			code,
			err,
			&stderr,
			m.kernelLog(t),
		)
	}
}
