//go:build linux

package usbfs_test

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbfs"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbtest"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deviceVariable is the name of the environment variable with the ID of a device
// that the tests may open.
const deviceVariable = "EASYFIND_TEST_USB_DEVICE"

func TestContract(t *testing.T) {
	id := os.Getenv(deviceVariable)
	if id == "" {
		t.Skip("set " + deviceVariable + " to the ID of a USB device, such as 1-2, that this test may open")
	}
	usbtest.Run(t, func(t *testing.T) usb.Bus {
		bus, err := usbfs.New(usbfs.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return bus
	}, id)
}

// TestURBsWaitForKernelMemory submits four URBs of 768 KiB while the kernel has
// memory for only one. The others must wait and then succeed.
func TestURBsWaitForKernelMemory(t *testing.T) {
	id := os.Getenv(deviceVariable)
	if id == "" {
		t.Skip("set " + deviceVariable + " to the ID of a USB disk, such as 1-2, that this test may open")
	}
	const limit = "/sys/module/usbcore/parameters/usbfs_memory_mb"
	before, err := os.ReadFile(limit)
	if err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(limit, []byte("1"), 0); err != nil {
		t.Skip("only root may limit the kernel's memory: ", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(limit, before, 0); err != nil {
			t.Error(err)
		}
	})
	bus, err := usbfs.New(usbfs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	infos, err := bus.Devices()
	i := slices.IndexFunc(infos, func(i usb.Info) bool { return i.ID == id })
	if err != nil || i < 0 {
		t.Fatalf("%s: %v in %+v", id, err, infos)
	}
	if !slices.ContainsFunc(infos[i].Interfaces, func(i usb.Interface) bool { return i.Class == 0x08 }) {
		t.Skip(id + " is not a disk")
	}
	d, err := bus.Open(id, usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	usbtest.ReadInFlight(t, d, 4, 768<<10, false)
}

// Descriptors of a disk and of a hub.
const (
	diskDescriptors = "12010002000000400912010000010102030109022000010100803209040000020806500007058102000200" +
		"07050202000200"
	hubDescriptors = "12010002090000407e2412000001010203010902190001010080320904000001090000000705810301000c"
)

// tree creates directories with the layout of /sys, /dev and /proc.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) tree {
	tr := tree{t, t.TempDir()}
	tr.write("proc/self/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n")
	tr.write("sys/bus/usb/devices/usb1/busnum", "1\n") // a root hub
	tr.device("1-1", "3", hubDescriptors)
	tr.device("1-1.4", "7", diskDescriptors)
	tr.write("sys/bus/usb/devices/1-1.4/manufacturer", "Maker\n")
	tr.write("sys/bus/usb/devices/1-1.4/product", "Fast Disk\n")
	tr.write("sys/bus/usb/devices/1-1.4/serial", "0123\n")
	tr.driver("1-1.4", "usb-storage")
	tr.write(diskDirectory+"dev", "8:16\n")
	tr.write(diskDirectory+"sdb1/dev", "8:17\n")
	tr.device("1-2", "9", "120100") // the kernel has not yet read all of its descriptors
	return tr
}

const diskDirectory = "sys/bus/usb/devices/1-1.4/1-1.4:1.0/host2/target2:0:0/2:0:0:0/block/sdb/"

func (tr tree) write(name, content string) {
	tr.t.Helper()
	name = filepath.Join(tr.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) device(id, number, descriptors string) {
	tr.t.Helper()
	raw, err := hex.DecodeString(descriptors)
	if err != nil {
		tr.t.Fatal(err)
	}
	dir := "sys/bus/usb/devices/" + id + "/"
	tr.write(dir+"busnum", "1\n")
	tr.write(dir+"devnum", number+"\n")
	tr.write(dir+"speed", "480\n")
	tr.write(dir+"bConfigurationValue", "1\n")
	tr.write(dir+"descriptors", string(raw))
	tr.write(dir+id+":1.0/bInterfaceNumber", "00\n")
	tr.write(dir+id+":1.0/bAlternateSetting", " 0\n")
}

func (tr tree) driver(id, name string) {
	tr.t.Helper()
	link := filepath.Join(tr.root, "sys/bus/usb/devices", id, id+":1.0/driver")
	_ = os.Remove(link)
	if err := os.Symlink("../../../../bus/usb/drivers/"+name, link); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) bus() usb.Bus {
	tr.t.Helper()
	bus, err := usbfs.New(usbfs.Config{
		Sys: filepath.Join(tr.root, "sys"), Dev: filepath.Join(tr.root, "dev"), Proc: filepath.Join(tr.root, "proc"),
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	return bus
}

func TestListShowsPluggedDevices(t *testing.T) {
	list, err := newTree(t).bus().Devices()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].ID != "1-1" || list[1].ID != "1-1.4" {
		t.Fatalf("got %+v", list)
	}
	if list[0].InUse != "it is a hub" {
		t.Errorf("hub: %q", list[0].InUse)
	}
	d := list[1]
	if d.BusNumber != 1 || d.DeviceNumber != 7 || d.Speed != usb.SpeedHigh || d.Vendor != 0x1209 || d.Product != 1 ||
		d.Name() != "Maker Fast Disk" || d.Serial != "0123" || d.Configuration != 1 || d.InUse != "" ||
		len(d.Interfaces) != 1 || d.Interfaces[0] != (usb.Interface{Class: 8, SubClass: 6, Protocol: 0x50}) {
		t.Errorf("disk: %+v", d)
	}
}

func TestDevicesInUseAreRefused(t *testing.T) {
	for want, change := range map[string]func(tree){
		"": func(tree) {},
		"sdb1 is mounted on /mnt/my disk": func(tr tree) {
			tr.write("proc/self/mountinfo", "29 22 8:17 / /mnt/my\\040disk rw shared:2 master:1 - vfat /dev/sdb1 rw\n")
		},
		"sdb is mounted on /srv": func(tr tree) {
			tr.write("proc/self/mountinfo", "29 22 0:44 / /srv rw - btrfs /dev/sdb rw\n")
		},
		"sdb1 is used as swap": func(tr tree) {
			tr.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sdb1 partition 1048572 0 -2\n")
		},
		"sdb1 is held by dm-0": func(tr tree) { tr.write(diskDirectory+"sdb1/holders/dm-0", "") },
		"it is already opened": func(tr tree) { tr.driver("1-1.4", "usbfs") },
		"usb0 carries this machine's default route": func(tr tree) {
			tr.write("sys/bus/usb/devices/1-1.4/1-1.4:1.0/net/usb0/operstate", "up\n")
			tr.write("proc/net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n"+
				"usb0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\n")
		},
		"usb1 carries this machine's default route": func(tr tree) {
			tr.write("sys/bus/usb/devices/1-1.4/1-1.4:1.0/net/usb1/operstate", "up\n")
			zero := strings.Repeat("0", 32)
			tr.write("proc/net/ipv6_route", zero+" 00 "+zero+" 00 "+zero+" 00000400 00000001 00000000 00000003 usb1\n"+
				zero+" 00 "+zero+" 00 "+zero+" ffffffff 00000001 00000000 00200200       lo\n")
		},
	} {
		tr := newTree(t)
		change(tr)
		list, err := tr.bus().Devices()
		if err != nil || len(list) != 2 || list[1].InUse != want {
			t.Errorf("got %+v, %v, want %q", list, err, want)
			continue
		}
		_, err = tr.bus().Open("1-1.4", usb.OpenOptions{})
		if want != "" && (!errors.Is(err, usb.ErrInUse) || !strings.Contains(err.Error(), want)) {
			t.Errorf("Open: %v, want %q", err, want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	tr := newTree(t)
	for id, want := range map[string]error{
		"1-1": usb.ErrInUse, "1-9": usb.ErrNotFound, "usb1": usb.ErrNotFound, "1-1:1.0": usb.ErrNotFound,
		"../devices/1-1.4": usb.ErrNotFound, "1-1.4": usb.ErrNotFound, // its node does not exist
	} {
		if _, err := tr.bus().Open(id, usb.OpenOptions{Force: true}); !errors.Is(err, want) {
			t.Errorf("Open(%q): %v, want %v", id, err, want)
		}
	}
	tr.write("dev/001/007", "\x12\x01another device's descriptor")
	if _, err := tr.bus().Open("1-1.4", usb.OpenOptions{}); !errors.Is(err, usb.ErrNotFound) {
		t.Errorf("a device that was replaced: %v", err)
	}
	if err := os.Chmod(filepath.Join(tr.root, "dev/001/007"), 0); err != nil {
		t.Fatal(err)
	}
	asNobody(t, tr.root)
	if _, err := tr.bus().Open("1-1.4", usb.OpenOptions{}); !errors.Is(err, usb.ErrPermission) {
		t.Errorf("a node without permission: %v", err)
	}
}

// asNobody gives the calling goroutine the file permissions of the user nobody
// until the test ends, and makes dir accessible to that user. The goroutine is
// locked to its thread because setfsuid(2) acts on one thread.
func asNobody(t *testing.T, dir string) {
	if os.Geteuid() != 0 {
		return
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	runtime.LockOSThread()
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := unix.SetfsuidRetUid(0); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
	})
}

func TestKernelWithoutUSB(t *testing.T) {
	if _, err := usbfs.New(usbfs.Config{Sys: t.TempDir()}); err == nil {
		t.Error("New succeeded on a machine without USB")
	}
}

func TestWatchReportsInitialList(t *testing.T) {
	called := 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := newTree(t).bus().Watch(ctx, func() { called++; cancel() })
	if err != nil || called == 0 {
		t.Errorf("called %d times, %v", called, err)
	}
}
