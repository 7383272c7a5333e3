//go:build linux

package usbfs

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/easyfind-usb/easyfind/agent/internal/usb/uevent"
)

// TestRequestCodes compares the request codes with those that a C compiler for
// a 64-bit machine computes from include/uapi/linux/usbdevice_fs.h.
func TestRequestCodes(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 || code(dirRead, 0, 0)>>30 != 2 {
		t.Skip("the expected codes are those of 64-bit architectures with the generic layout")
	}
	for name, c := range map[string]struct{ got, want uintptr }{
		"SETINTERFACE": {reqSetInterface, 0x80085504}, "SETCONFIGURATION": {reqSetConfiguration, 0x80045505},
		"SUBMITURB": {reqSubmit, 0x8038550a}, "DISCARDURB": {reqDiscard, 0x550b},
		"REAPURBNDELAY":    {reqReapNoDelay, 0x4008550d},
		"RELEASEINTERFACE": {reqRelease, 0x80045510}, "IOCTL": {reqDriver, 0xc0105512}, "RESET": {reqReset, 0x5514},
		"CLEAR_HALT": {reqClearHalt, 0x80045515}, "CONNECT": {reqConnect, 0x5517},
		"DISCONNECT_CLAIM": {reqDisconnectClaim, 0x8108551b},
	} {
		if c.got != c.want {
			t.Errorf("USBDEVFS_%s is %#x, want %#x", name, c.got, c.want)
		}
	}
	if n := unsafe.Sizeof(kernelPacket{}); n != 12 {
		t.Errorf("a packet descriptor has %d bytes, want 12", n)
	}
}

func TestWatchedSubsystems(t *testing.T) {
	for subsystem, want := range map[string]bool{"usb": true, "block": true, "net": true, "thermal": false, "": false} {
		if got := watched(uevent.Event{Action: "add", Path: "/devices/x", Subsystem: subsystem}); got != want {
			t.Errorf("%q: %t", subsystem, got)
		}
	}
}

func FuzzMounts(f *testing.F) {
	f.Add("29 22 8:17 / /mnt/my\\040disk rw shared:2 master:1 - vfat /dev/sdb1 rw\n")
	f.Add("29 22 0:44 / /srv rw - btrfs /dev/sdb rw\n - - - \\777 \\04")
	f.Fuzz(func(t *testing.T, s string) {
		for key := range parseMounts(s) {
			if strings.ContainsAny(key, " \n") && !strings.HasPrefix(key, "/dev/") {
				t.Errorf("key %q", key)
			}
		}
		parseSwaps(s)
		parseRoutes(s)
		parseRoutes6(s)
	})
}
