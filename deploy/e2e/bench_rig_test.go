package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// bench has the kernels in guests, and the agents on this machine, in nodes of the lab:
// the processors of the guests are emulated, and programs in them are 20 times slower.
//
//	guest c ──┐                                     ┌── guest s (usbipd, devices)
//	agent k ──┼── inet ──── emulated link ── gws ───┤
//	          └── srv (rendezvous)                  └── agent h (--backend usbip://s)
//
// Stock usbip goes from c to s. With EasyFind, c attaches what k offers, k uses what h
// shares, and h imports from s.
type bench struct {
	lab          *lab.Lab
	s, c         *machine
	host, client *agent
	rendezvous   string            // join link
	ids          map[string]string // bus IDs of the devices on s, by name in devices
}

// Addresses of the machines.
const (
	addressS = "203.0.113.2"   // guest s
	addressK = "198.51.100.31" // agent k
)

// devices lists the devices of s: a word in their product's name by which the guest finds
// each.
var devices = map[string]string{"disk": "HARDDRIVE", "mouse": "Tablet", "serial": "SERIAL", "audio": "Audio"}

// Layout of the disk, in bytes. The file system is at its begin.
const (
	diskSize  = 4 << 30 // most of it is a hole, which takes no space on this machine
	filesSize = 128 << 20
	rawFrom   = 1 << 30 // reads and writes without a file system begin here
)

func startBench(t *testing.T, r *report) *bench {
	t.Helper()
	p := built(t)
	tool := filepath.Join(scratch, "devbench")
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	if err := guest.GoBuild(ctx, tool, module+"deploy/e2e/guest/devbench", "CGO_ENABLED=0"); err != nil {
		t.Fatal(err)
	}
	b := &bench{ids: map[string]string{}, lab: lab.Start(t, &lab.Topology{
		Prefix: "ef-bench-", Seed: 1, Nodes: []lab.Node{
			{Name: "inet", LAN: []string{"198.51.100.1/24"}},
			{Name: "srv", Via: "inet", Addr: []string{"198.51.100.10/24"}},
			{Name: "k", Via: "inet", Addr: []string{addressK + "/24"}},
			{
				Name: "gws", Via: "inet", Addr: []string{"198.51.100.20/24"},
				LAN: []string{"203.0.113.1/25"}, Link: &lab.Link{},
			},
			{Name: "h", Via: "gws", Addr: []string{"203.0.113.3/25"}},
		},
	})}
	b.rendezvous = startRendezvous(t, b.lab, p).link
	b.bootGuests(t, p.image, tool)
	r.kernel = b.s.must(t, commandTimeout, "uname -r")
	r.congestion = b.s.must(t, commandTimeout, "cat /proc/sys/net/ipv4/tcp_congestion_control")
	b.host = newAgent(t, "workshop", node{b.lab, "h"}, p.agent, t.TempDir())
	b.client = newAgent(t, "laptop", node{b.lab, "k"}, p.agent, t.TempDir())
	b.up(t, nil)
	pair(t, b.host, b.client)
	for _, id := range b.ids {
		b.host.must(t, nil, "share", id, "--force") // the mouse needs it, because it is an input device
	}
	b.down(t)
	return b
}

// priority is the nice value of the guests, the agents and the emulated link, so that
// other programs on this machine disturb the measurement less.
const priority = -5

// prefer sets the priority of this process and of those that it starts. In Linux each
// thread has its own, and new ones inherit it.
func prefer(t *testing.T) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err == nil {
			err = syscall.Setpriority(syscall.PRIO_PROCESS, id, priority)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) { // the thread may have ended
			t.Fatalf("priority of the measured programs: %v", err)
		}
	}
}

// bootGuests boots both guests. S exports its devices by usbipd.
func (b *bench) bootGuests(t *testing.T, image *guest.Image, tool string) {
	t.Helper()
	disk, dir := benchDisk(t), t.TempDir()
	files := map[string]string{"/usr/bin/devbench": tool}
	guests := boot(t, guest.Config{
		Name: "s", Image: image, Dir: dir, Files: files, Modules: []string{"usbip_host"},
		USB: []guest.USB{
			guest.Disk("disk", disk), guest.Tablet("tablet"), guest.Audio("audio"),
			guest.Serial("serial", filepath.Join(dir, "serial.sock")),
		},
		NIC: &guest.NIC{
			Namespace: b.lab.Namespace("gws"), Bridge: "lan0", Addr: addressS + "/25", Gateway: "203.0.113.1",
		},
	}, guest.Config{
		Name: "c", Image: image, Dir: t.TempDir(), Files: files,
		Modules: []string{"vhci_hcd", "usb_storage", "sd_mod", "ext4", "usbhid", "evdev", "ftdi_sio", "snd_usb_audio"},
		NIC: &guest.NIC{
			Namespace: b.lab.Namespace("inet"), Bridge: "lan0", Addr: "198.51.100.30/24", Gateway: "198.51.100.1",
		},
	})
	b.s, b.c = guests[0], guests[1]
	for _, m := range guests {
		// A connection must not reuse what TCP learned from an earlier one.
		m.must(t, commandTimeout, "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save")
	}
	b.s.must(t, commandTimeout, "usbipd -D")
	for name, word := range devices {
		id := b.s.must(t, commandTimeout,
			`f=$(grep -il "`+word+`" /sys/bus/usb/devices/*/product) && basename "$(dirname "$f")"`)
		b.s.must(t, commandTimeout, "usbip bind -b "+id)
		b.ids[name] = id
	}
}

// benchDisk creates the image of the disk: an ext4 file system with small files, and
// behind it room for reads and writes without a file system.
func benchDisk(t *testing.T) string {
	t.Helper()
	content := filepath.Join(t.TempDir(), "content")
	if err := os.MkdirAll(filepath.Join(content, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range smallFiles {
		randomFile(t, filepath.Join(content, "files", fmt.Sprintf("%04d", n)), smallFile, byte(n))
	}
	image := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(diskSize), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	mke2fs, err := guest.LookPath("mke2fs")
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(mke2fs, "-q", "-F", "-t", "ext4", "-d", content, image,
		strconv.Itoa(filesSize>>20)+"M").CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v: %s", err, said)
	}
	return image
}

// up starts both agents and waits until the rendezvous knows them, and the host its
// devices. A measurement then starts without a link between them.
func (b *bench) up(t *testing.T, flags []string) {
	t.Helper()
	common := append([]string{"--rendezvous", b.rendezvous, "--log-level", "INFO"}, flags...)
	b.host.up(t, append(common, "--backend", "usbip://"+addressS, "--usbip-listen=")...)
	b.client.up(t, append(common, "--backend", "none", "--usbip-listen", addressK+":3240")...)
	for _, a := range []*agent{b.host, b.client} {
		a.has(t, commandTimeout, "the rendezvous", func(s status) bool { return s.Rendezvous.Connected })
	}
	eventually(t, commandTimeout, func(ctx context.Context) error {
		raw, err := b.host.run(ctx, "devices")
		if err != nil {
			return err
		}
		var all []device
		if err := json.Unmarshal(raw, &all); err != nil {
			return err
		}
		free := 0
		for _, d := range all {
			if d.InUse == "" {
				free++
			}
		}
		if free != len(devices) {
			return fmt.Errorf("the host imports %s, want %d free devices", raw, len(devices))
		}
		return nil
	})
}

func (b *bench) down(t *testing.T) {
	t.Helper()
	b.client.stop(t)
	b.host.stop(t)
}

// setLink changes the emulated link.
func (b *bench) setLink(t *testing.T, c cell) {
	t.Helper()
	impair := lab.Impair{Delay: c.rtt / 2, Loss: c.loss, Rate: c.rate}
	if err := b.lab.SetLink("gws", lab.Link{Impair: impair}); err != nil {
		t.Fatal(err)
	}
}

// noUDP drops the UDP packets that both agents send, so that their links use TLS, or
// permits them again.
func (b *bench) noUDP(t *testing.T, on bool) {
	t.Helper()
	rules := "add table inet noudp\ndelete table inet noudp\n"
	if on {
		rules += "table inet noudp { chain out { type filter hook output priority 0; meta l4proto udp drop; }; }\n"
	}
	for _, name := range []string{"h", "k"} {
		c := b.lab.Command(name, "nft", "-f", "-")
		c.Stdin = strings.NewReader(rules)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	}
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

// devbench runs devbench in the guest.
func (m *machine) devbench(t *testing.T, result any, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*commandTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code, err := m.Stream(ctx, nil, &stdout, &stderr, append([]string{"devbench"}, args...)...)
	if err == nil && code == 0 {
		err = json.Unmarshal(stdout.Bytes(), result)
	}
	if err != nil || code != 0 {
		t.Fatalf("devbench %s: exit %d, %v, %s\nkernel: %s",
			strings.Join(args, " "), code, err, &stderr, m.kernelLog(t))
	}
}
