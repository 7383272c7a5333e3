package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// table is a file "status" of vhci_hcd (drivers/usb/usbip/vhci_sysfs.c, status_show).
const table = `hub port sta spd dev      sockfd local_busid
hs  0000 006 003 00010001 000003 5-1
hs  0001 004 000 00000000 000000 0-0
ss  0008 006 005 00010002 000004 6-1
`

// sysfs creates files below a directory.
func sysfs(t *testing.T, files map[string]string) kernelFiles {
	t.Helper()
	k := kernelFiles{controller: filepath.Join(t.TempDir(), "vhci_hcd.0")}
	for name, content := range files {
		path := filepath.Join(filepath.Dir(k.controller), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestBlockDeviceOfPort(t *testing.T) {
	k := sysfs(t, map[string]string{
		"vhci_hcd.0/status": table,
		"vhci_hcd.0/usb5/5-1/5-1:1.0/host2/target2:0:0/2:0:0:0/block/sdb/size": "131072\n",
		"vhci_hcd.0/usb6/6-1/6-1:1.0/host3/target3:0:0/3:0:0:0/block/sdc/size": "0\n",
	})
	if name, err := k.blockDevice(0); err != nil || name != "sdb" {
		t.Errorf("port 0: %q, %v", name, err)
	}
	k.devices = t.TempDir()
	if _, err := k.open(0); err == nil || !strings.Contains(err.Error(), "in a container") {
		t.Errorf("without a device file: %v, want advice", err)
	}
	if err := os.WriteFile(filepath.Join(k.devices, "sdb"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := k.open(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for port, want := range map[int]string{1: "has 0 disks", 8: "no size yet", 9: "no port 9"} {
		if name, err := k.blockDevice(port); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("port %d: %q, %v, want %q", port, name, err, want)
		}
	}
}

func TestBlockDeviceOfLaterController(t *testing.T) {
	k := sysfs(t, map[string]string{
		"vhci_hcd.0/status":   table,
		"vhci_hcd.0/status.1": "hs  0016 006 003 00010001 000003 7-1\n",
		"vhci_hcd.1/usb7/7-1/7-1:1.0/host2/target2:0:0/2:0:0:0/block/sdd/size": "8\n",
	})
	if name, err := k.blockDevice(16); err != nil || name != "sdd" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestNewlyPressedKeys(t *testing.T) {
	for _, c := range []struct {
		before, now [reportLength]byte
		want        string
	}{
		{now: [reportLength]byte{0, 0, 0x04}, want: "a"},
		{now: [reportLength]byte{0x02, 0, 0x0b}, want: "H"},
		{now: [reportLength]byte{0x20, 0, 0x1e}, want: "!"},
		{now: [reportLength]byte{0, 0, 0x2c, 0x38}, want: " /"},
		{before: [reportLength]byte{0, 0, 0x04}, now: [reportLength]byte{0, 0, 0x04, 0x05}, want: "b"},
		{before: [reportLength]byte{0, 0, 0x04, 0x05}, now: [reportLength]byte{0, 0, 0x05}},
		{now: [reportLength]byte{0, 0, 1, 1, 1, 1, 1, 1}}, // too many keys at once
		{now: [reportLength]byte{0, 0, 0x39, 0xff}, want: "\uFFFD\uFFFD"},
	} {
		if got := string(newlyPressed(c.before, c.now)); got != c.want {
			t.Errorf("% x then % x: %q, want %q", c.before, c.now, got, c.want)
		}
	}
}
