package usbip

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb/uevent"
)

// port0 is the directory of the SCSI devices of a remote card reader in port 0 of
// the controller. localDisk is a disk of this machine with the same bus ID.
const (
	port0     = "/devices/platform/vhci_hcd.0/usb1/1-1/1-1:1.0/host2/target2:0:0/"
	localDisk = "/devices/pci0000:00/0000:00:1d.0/usb1/1-1/1-1:1.0/host9/target9:0:0/9:0:0:0"
)

func setTimeouts(t *testing.T, v *VHCI, device, command, recovery string) {
	t.Helper()
	write(t, filepath.Join(v.sys, device, "timeout"), command)
	write(t, filepath.Join(v.sys, device, "eh_timeout"), recovery)
}

func wantTimeouts(t *testing.T, v *VHCI, device, command, recovery string) {
	t.Helper()
	for name, want := range map[string]string{"timeout": command, "eh_timeout": recovery} {
		if got, err := os.ReadFile(filepath.Join(v.sys, device, name)); err != nil || string(got) != want {
			t.Errorf("%s of %s is %q, %v; want %q", name, device, got, err, want)
		}
	}
}

func TestTimeoutsOfRemoteDisksAreRaised(t *testing.T) {
	v := fakeVHCI(t)
	remote := []string{port0 + "2:0:0:0", port0 + "2:0:0:1"}
	otherPort := "/devices/platform/vhci_hcd.0/usb1/1-2/1-2:1.0/host3/target3:0:0/3:0:0:0"
	for _, device := range append(remote, otherPort, localDisk) {
		setTimeouts(t, v, device, "30\n", "10\n")
	}
	disks := &diskTimeouts{v: v, port: 0}
	scsi := func(action, path string) uevent.Event {
		return uevent.Event{Action: action, Path: path, Subsystem: "scsi", DevType: "scsi_device"}
	}

	disks.handle(scsi("add", remote[1])) // the second slot of the card reader
	wantTimeouts(t, v, remote[1], "90", "70")
	wantTimeouts(t, v, remote[0], "30\n", "10\n")
	setTimeouts(t, v, remote[1], "30", "300") // as its driver sets them
	disks.handle(scsi("bind", remote[1]))
	wantTimeouts(t, v, remote[1], "90", "300")

	for _, e := range []uevent.Event{
		scsi("add", otherPort), scsi("add", localDisk), scsi("remove", remote[0]),
		scsi("add", ""), scsi("add", "/x/vhci_hcd.0/usb1"),
		{Action: "add", Path: remote[0], Subsystem: "scsi", DevType: "scsi_target"},
		{Action: "add", Path: remote[0], Subsystem: "block", DevType: "disk"},
		scsi("add", port0+"2:0:0:7"), // unplugged before the event is handled
	} {
		disks.handle(e)
	}
	for _, device := range []string{remote[0], otherPort, localDisk} {
		wantTimeouts(t, v, device, "30\n", "10\n")
	}

	disks.raiseAll() // as after lost events
	wantTimeouts(t, v, remote[0], "90", "70")
	for _, device := range []string{otherPort, localDisk} {
		wantTimeouts(t, v, device, "30\n", "10\n")
	}
}

func TestTimeoutsStayWithoutExtraTimeout(t *testing.T) {
	v := fakeVHCI(t)
	v.cfg.ExtraTimeout = 0
	disks := v.watchDisks()
	disks.start(0)
	disks.stop()
	if disks.events != nil {
		t.Error("watchDisks subscribed to the kernel's events")
	}
}

func TestTimeoutIsNeverLowered(t *testing.T) {
	name := filepath.Join(t.TempDir(), "timeout")
	for _, c := range []struct {
		current, want string
		atLeast       time.Duration
	}{{"30\n", "31", 30*time.Second + 1}, {"30\n", "30\n", 30 * time.Second}, {"0", "1", time.Millisecond}} {
		write(t, name, c.current)
		if err := raiseSeconds(name, c.atLeast); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != c.want {
			t.Errorf("%q raised to %v is %q, %v; want %q", c.current, c.atLeast, got, err, c.want)
		}
	}
	write(t, name, "soon")
	if err := raiseSeconds(name, time.Second); err == nil {
		t.Error("no error for a file without a number")
	}
}
