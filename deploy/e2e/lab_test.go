package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// bootTimeout bounds the start of a guest on a busy machine.
const bootTimeout = 5 * time.Minute

// network describes the network between the machines of a test.
type network struct {
	host, client lab.Node // their Name, Via, Addr and LAN are set by start
}

// nat returns a router with a NAT of a preset type.
func nat(kind string) lab.Node { return lab.Node{NAT: &lab.NAT{Type: kind}} }

// labs counts the networks of this process, which may exist at the same time.
var labs atomic.Int32

// start builds the network.
func (n network) start(t *testing.T) *lab.Lab {
	t.Helper()
	n.host.Name, n.host.Addr, n.host.LAN = "gws", []string{"203.0.113.10/24"}, []string{"192.168.1.1/24"}
	n.client.Name, n.client.Addr, n.client.LAN = "gwc", []string{"203.0.113.20/24"}, []string{"192.168.2.1/24"}
	n.host.Via, n.client.Via = "inet", "inet"
	return lab.Start(t, &lab.Topology{Prefix: fmt.Sprintf("ef-e2e-%d-", labs.Add(1)), Seed: 1, Nodes: []lab.Node{
		{Name: "inet", LAN: []string{"198.51.100.1/24", "203.0.113.1/24"}},
		{Name: "srv", Via: "inet", Addr: []string{"198.51.100.10/24"}},
		n.host, n.client,
		{
			Name: "gwo",
			Via:  "inet",
			Addr: []string{"203.0.113.30/24"},
			LAN:  []string{"192.168.3.1/24"},
			NAT:  &lab.NAT{Type: "portrestrict"},
		},
		{Name: "o", Via: "gwo", Addr: []string{"192.168.3.2/24"}},
		{Name: "p", Via: "gwo", Addr: []string{"192.168.3.3/24"}},
	}})
}

// machine is a guest on a LAN of the lab.
type machine struct {
	*guest.Guest
	dir string
}

// boot starts guests at the same time. They end with the test.
func boot(t *testing.T, configs ...guest.Config) []*machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
	defer cancel()
	machines, errs := make([]*machine, len(configs)), make([]error, len(configs))
	var starting sync.WaitGroup
	for i, c := range configs {
		starting.Go(func() {
			g, err := guest.Start(ctx, c)
			if errs[i] = err; err == nil {
				machines[i] = &machine{g, c.Dir}
			}
		})
	}
	starting.Wait()
	for i, m := range machines {
		if m != nil {
			m.endWith(t, configs[i].Name)
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return machines
}

// endWith ends a guest with the test.
func (m *machine) endWith(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console of %s:\n%s", name, m.Console())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("guest %s is up after %v", name, m.Boot.Round(100*time.Millisecond))
}

// describe logs what a guest is doing: whether it answers at all, whether its network and
// its agent do, and how much memory and processor time the agent has used.
func (m *machine) describe(t *testing.T, name string) {
	t.Helper()
	const script = `
		uptime
		free -m | sed -n 2p
		ping -c 1 -W 5 198.51.100.10 | tail -n 1
		pid=$(cat "$0/pid")
		grep -E '^(State|VmRSS|Threads)' "/proc/$pid/status"
		cut -d ' ' -f 14,15 "/proc/$pid/stat"
		timeout 20 "$1" status --socket "$0/socket" --json | head -c 1500`
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	var said bytes.Buffer
	code, err := m.Stream(ctx, nil, &said, &said, "sh", "-c", script, guestDir, guestProgram)
	t.Logf("guest %s: exit %d, %v\n%s", name, code, err, &said)
}

// hostGuest returns the guest that has the devices.
func hostGuest(t *testing.T, l *lab.Lab, p programs, image string) guest.Config {
	t.Helper()
	dir := t.TempDir()
	return guest.Config{
		Name: "s", Image: p.image, Dir: dir, Files: map[string]string{"/usr/bin/easyfind": p.agent},
		NIC: &guest.NIC{Namespace: l.Namespace("gws"), Bridge: "lan0", Addr: "192.168.1.2/24", Gateway: "192.168.1.1"},
		USB: []guest.USB{
			guest.Disk("disk", image),
			guest.Keyboard("keyboard"),
			guest.Serial("serial", filepath.Join(dir, "serial.sock")),
		},
	}
}

// clientGuest returns the guest that uses the devices.
func clientGuest(t *testing.T, l *lab.Lab, p programs) guest.Config {
	t.Helper()
	return guest.Config{
		Name: "c", Image: p.image, Dir: t.TempDir(), Files: map[string]string{"/usr/bin/easyfind": p.agent},
		NIC: &guest.NIC{
			Namespace: l.Namespace("gwc"),
			Bridge:    "lan0",
			Addr:      "192.168.2.2/24",
			Gateway:   "192.168.2.1",
		},
		Modules: []string{"vhci_hcd", "usb_storage", "sd_mod", "ext4"},
	}
}

// must runs a script in a guest. It must succeed within timeout.
func (m *machine) must(t *testing.T, timeout time.Duration, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	out, err := m.Exec(ctx, script)
	if err != nil {
		t.Fatalf("%v\nkernel: %s", err, m.kernelLog(t))
	}
	return out
}

// kernelLog returns the end of the guest's kernel log.
func (m *machine) kernelLog(t *testing.T) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	out, err := m.Exec(ctx, "dmesg | tail -30")
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	return out
}

// inSize is the size of the file that is copied to the disk, in bytes.
const inSize = 8 << 20

// file is a file on the host's disk.
type file struct {
	name string
	size int64  // bytes
	sum  string // SHA-256
}

// contents are the files that tests copy from the disk: all of them, or a part if the
// amount does not matter.
type contents struct{ all, part, little file }

// randomFile writes size bytes that depend only on seed.
func randomFile(t *testing.T, name string, size int64, seed byte) {
	t.Helper()
	data := make([]byte, size)
	if _, err := rand.NewChaCha8([32]byte{seed}).Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// diskImage creates an ext4 file system with the files.
func diskImage(t *testing.T) (image string, c contents) {
	t.Helper()
	dir := t.TempDir()
	content := filepath.Join(dir, "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		t.Fatal(err)
	}
	make := func(name string, size int64, seed byte) file {
		path := filepath.Join(content, name)
		randomFile(t, path, size, seed)
		return file{name, size, sumOf(t, path)}
	}
	c = contents{make("all", 64<<20, 1), make("part", 32<<20, 2), make("little", 4<<20, 3)}
	image = filepath.Join(dir, "disk.img")
	mke2fs, err := guest.LookPath("mke2fs")
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(mke2fs, "-q", "-t", "ext4", "-L", "easyfind", "-d", content, image, "128M").
		CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v: %s", err, said)
	}
	return image, c
}

func sumOf(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
