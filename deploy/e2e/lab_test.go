package e2e

import (
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

// bootTime bounds the start of a guest on a busy machine.
const bootTime = 5 * time.Minute

// network is what lies between the machines of a test.
type network struct {
	host, client lab.Node // Name, Via, Addr and LAN are filled in
}

// nat is a router with a NAT of a preset's type.
func nat(kind string) lab.Node { return lab.Node{NAT: &lab.NAT{Type: kind}} }

// labs counts the networks of this process, which may be up at once.
var labs atomic.Int32

// start brings the network up.
func (n network) start(t *testing.T) *lab.Lab {
	t.Helper()
	n.host.Name, n.host.Addr, n.host.LAN = "gws", []string{"203.0.113.10/24"}, []string{"192.168.1.1/24"}
	n.client.Name, n.client.Addr, n.client.LAN = "gwc", []string{"203.0.113.20/24"}, []string{"192.168.2.1/24"}
	n.host.Via, n.client.Via = "inet", "inet"
	return lab.Start(t, &lab.Topology{Prefix: fmt.Sprintf("ef-e2e-%d-", labs.Add(1)), Seed: 1, Nodes: []lab.Node{
		{Name: "inet", LAN: []string{"198.51.100.1/24", "203.0.113.1/24"}},
		{Name: "srv", Via: "inet", Addr: []string{"198.51.100.10/24"}},
		n.host, n.client,
		{Name: "gwo", Via: "inet", Addr: []string{"203.0.113.30/24"}, LAN: []string{"192.168.3.1/24"}, NAT: &lab.NAT{Type: "portrestrict"}},
		{Name: "o", Via: "gwo", Addr: []string{"192.168.3.2/24"}},
		{Name: "p", Via: "gwo", Addr: []string{"192.168.3.3/24"}},
	}})
}

// machine is a guest on a lab's LAN.
type machine struct {
	*guest.Guest
	dir string
}

// boot starts guests, all at once, and ends them with the test.
func boot(t *testing.T, configs ...guest.Config) []*machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
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

// hostGuest is the guest that has the devices.
func hostGuest(t *testing.T, l *lab.Lab, p programs, image string) guest.Config {
	t.Helper()
	dir := t.TempDir()
	return guest.Config{
		Name: "s", Image: p.image, Dir: dir, Files: map[string]string{"/usr/bin/easyfind": p.agent},
		NIC: &guest.NIC{Namespace: l.Namespace("gws"), Bridge: "lan0", Addr: "192.168.1.2/24", Gateway: "192.168.1.1"},
		USB: []guest.USB{guest.Disk("disk", image), guest.Keyboard("keyboard"), guest.Serial("serial", filepath.Join(dir, "serial.sock"))},
	}
}

// clientGuest is the guest that uses them.
func clientGuest(t *testing.T, l *lab.Lab, p programs) guest.Config {
	t.Helper()
	return guest.Config{
		Name: "c", Image: p.image, Dir: t.TempDir(), Files: map[string]string{"/usr/bin/easyfind": p.agent},
		NIC:     &guest.NIC{Namespace: l.Namespace("gwc"), Bridge: "lan0", Addr: "192.168.2.2/24", Gateway: "192.168.2.1"},
		Modules: []string{"vhci_hcd", "usb_storage", "sd_mod", "ext4"},
	}
}

// must runs a script in a machine.
func (m *machine) must(t *testing.T, patience time.Duration, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := m.Exec(ctx, script)
	if err != nil {
		t.Fatalf("%v\nkernel: %s", err, m.kernelLog(t))
	}
	return out
}

// kernelLog is the end of what the machine's kernel has said.
func (m *machine) kernelLog(t *testing.T) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	out, err := m.Exec(ctx, "dmesg | tail -30")
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	return out
}

// inSize is that of the file that is copied in, in bytes.
const inSize = 8 << 20

// file is a file on the host's disk.
type file struct {
	name string
	size int64  // bytes
	sum  string // SHA-256
}

// contents are the files that are copied out: all of them, or a part where
// something other than the amount matters.
type contents struct{ all, part, little file }

// randomFile writes size bytes that are the same for the same seed.
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

// diskImage makes an ext4 file system with the files.
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
	said, err := exec.Command(mke2fs, "-q", "-t", "ext4", "-L", "easyfind", "-d", content, image, "128M").CombinedOutput()
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
