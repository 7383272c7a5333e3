package usbip

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb/uevent"
)

// card is a SCSI device of a far card reader in port 0 of the controller, and
// disk one of this machine.
const (
	port0 = "/devices/platform/vhci_hcd.0/usb1/1-1/1-1:1.0/host2/target2:0:0/"
	disk  = "/devices/pci0000:00/0000:00:1d.0/usb1/1-1/1-1:1.0/host9/target9:0:0/9:0:0:0"
)

func timers(t *testing.T, v *VHCI, device, command, recovery string) {
	t.Helper()
	write(t, filepath.Join(v.sys, device, "timeout"), command)
	write(t, filepath.Join(v.sys, device, "eh_timeout"), recovery)
}

func wantTimers(t *testing.T, v *VHCI, device, command, recovery string) {
	t.Helper()
	for name, want := range map[string]string{"timeout": command, "eh_timeout": recovery} {
		if got, err := os.ReadFile(filepath.Join(v.sys, device, name)); err != nil || string(got) != want {
			t.Errorf("%s of %s is %q, %v; want %q", name, device, got, err, want)
		}
	}
}

func TestTimersOfFarDisksAreRaised(t *testing.T) {
	v := fakeVHCI(t)
	far := []string{port0 + "2:0:0:0", port0 + "2:0:0:1"}
	other := "/devices/platform/vhci_hcd.0/usb1/1-2/1-2:1.0/host3/target3:0:0/3:0:0:0"
	for _, device := range append(far, other, disk) {
		timers(t, v, device, "30\n", "10\n")
	}
	p := &patience{v: v, port: 0}
	scsi := func(action, path string) uevent.Event {
		return uevent.Event{Action: action, Path: path, Subsystem: "scsi", DevType: "scsi_device"}
	}

	p.heard(scsi("add", far[1])) // the second slot of a card reader
	wantTimers(t, v, far[1], "90", "70")
	wantTimers(t, v, far[0], "30\n", "10\n")
	timers(t, v, far[1], "30", "300") // its driver has its own opinion
	p.heard(scsi("bind", far[1]))
	wantTimers(t, v, far[1], "90", "300")

	for _, e := range []uevent.Event{
		scsi("add", other), scsi("add", disk), scsi("remove", far[0]), scsi("add", ""), scsi("add", "/x/vhci_hcd.0/usb1"),
		{Action: "add", Path: far[0], Subsystem: "scsi", DevType: "scsi_target"},
		{Action: "add", Path: far[0], Subsystem: "block", DevType: "disk"},
		scsi("add", port0+"2:0:0:7"), // gone before it is looked at
	} {
		p.heard(e)
	}
	for _, device := range []string{far[0], other, disk} {
		wantTimers(t, v, device, "30\n", "10\n")
	}

	p.scan() // when events were lost
	wantTimers(t, v, far[0], "90", "70")
	for _, device := range []string{other, disk} {
		wantTimers(t, v, device, "30\n", "10\n")
	}
}

func TestTimersAreLeftAloneWithoutPatience(t *testing.T) {
	v := fakeVHCI(t)
	v.cfg.Patience = 0
	p := v.listen()
	p.follow(0)
	p.end()
	if p.events != nil {
		t.Error("it listens to the kernel")
	}
	name := filepath.Join(v.sys, "n")
	for _, c := range []struct {
		now, want string
		atLeast   time.Duration
	}{{"30\n", "31", 30*time.Second + 1}, {"30\n", "30\n", 30 * time.Second}, {"0", "1", time.Millisecond}} {
		write(t, name, c.now)
		if err := atLeast(name, c.atLeast); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != c.want {
			t.Errorf("%q raised to %v is %q, %v", c.now, c.atLeast, got, err)
		}
	}
	write(t, name, "soon")
	if err := atLeast(name, time.Second); err == nil {
		t.Error("no number is no error")
	}
}
