package usbip

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb/uevent"
)

// The kernel's default timeouts for a SCSI device (drivers/scsi/sd.h,
// scsi_priv.h).
const (
	commandTimeout  = 30 * time.Second // for a command
	recoveryTimeout = 10 * time.Second // for each step of the recovery after a failed command
)

// diskTimeouts raises the kernel's timeouts for the commands of the SCSI devices
// in one port. Otherwise the kernel would reset a remote disk, or give it up,
// while the link is lost. A device may have several SCSI devices (a card reader)
// and may get them late (after a change of configuration).
type diskTimeouts struct {
	v      *VHCI
	port   int
	events *uevent.Socket
	joined sync.WaitGroup
}

// watchDisks subscribes to the kernel's events. It must be called before the
// device is attached, so that no event is missed. Where the kernel delivers no
// events, the timeouts stay as they are.
func (v *VHCI) watchDisks() *diskTimeouts {
	t := &diskTimeouts{v: v}
	if v.cfg.ExtraTimeout <= 0 {
		return t
	}
	var err error
	if t.events, err = uevent.Open(); err != nil {
		v.cfg.Logger.Warn("cannot raise the timeouts of remote disks: the kernel may reset them when the link is lost",
			"timeout", commandTimeout, "err", err)
	}
	return t
}

// start starts a goroutine that raises the timeouts of the SCSI devices in a port.
// The goroutine runs until stop is called.
func (t *diskTimeouts) start(port int) {
	t.port = port
	if t.events == nil {
		return
	}
	t.joined.Go(func() {
		for {
			e, lost, err := t.events.Receive()
			switch {
			case err != nil:
				return
			case lost:
				t.raiseAll()
			default:
				t.handle(e)
			}
		}
	})
}

// stop ends the watch and joins its goroutine.
func (t *diskTimeouts) stop() {
	if t.events != nil {
		_ = t.events.Close()
	}
	t.joined.Wait()
}

// handle raises the timeouts of a SCSI device of the port when it is added, which
// is before the kernel reads from it. It raises them again when a driver is bound
// to it, because the driver of CD drives sets timeouts of its own.
func (t *diskTimeouts) handle(e uevent.Event) {
	if e.Subsystem != "scsi" || e.DevType != "scsi_device" || e.Action != "add" && e.Action != "bind" {
		return
	}
	// .../vhci_hcd.0/usb3/3-1/3-1:1.0/host2/target2:0:0/2:0:0:0
	parts := strings.Split(e.Path, "/")
	for i, part := range parts[:len(parts)-1] {
		if strings.HasPrefix(part, "vhci_hcd.") && i+2 < len(parts) && parts[i+2] == t.busID() {
			t.raise(filepath.Join(t.v.sys, e.Path))
			return
		}
	}
}

// raiseAll raises the timeouts of all SCSI devices of the port.
func (t *diskTimeouts) raiseAll() {
	id := t.busID()
	if id == "" {
		return
	}
	dirs, err := filepath.Glob(filepath.Join(t.v.sys, controllers, "usb*", id, id+":*", "host*", "target*", "*:*:*:*"))
	if err != nil {
		t.v.cfg.Logger.Warn("cannot list the SCSI devices of a remote disk", "port", t.port, "err", err)
	}
	for _, dir := range dirs {
		t.raise(dir)
	}
}

// busID returns the kernel's name of the device in the port, such as "3-1", or
// "" if the port is empty.
func (t *diskTimeouts) busID() string {
	ports, err := t.v.ports()
	if err != nil {
		t.v.cfg.Logger.Warn("cannot read the ports of the virtual host controller", "err", err)
	}
	for _, row := range ports {
		if row.number == t.port && row.state == portInUse && row.busID != "0-0" {
			return row.busID
		}
	}
	return ""
}

// raise raises the timeouts of the SCSI device whose directory in sysfs is dir.
func (t *diskTimeouts) raise(dir string) {
	for name, own := range map[string]time.Duration{"timeout": commandTimeout, "eh_timeout": recoveryTimeout} {
		err := raiseSeconds(filepath.Join(dir, name), own+t.v.cfg.ExtraTimeout)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // not there: the device was unplugged
			t.v.cfg.Logger.Warn("cannot raise the timeout of a remote disk: it may be reset when the link is lost",
				"timeout", own, "err", err)
		}
	}
}

// raiseSeconds raises the number of seconds in a file to at least want, rounded
// up. It never lowers the number.
func raiseSeconds(name string, want time.Duration) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	current, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	seconds := int((want + time.Second - 1) / time.Second)
	if current >= seconds {
		return nil
	}
	return os.WriteFile(name, []byte(strconv.Itoa(seconds)), 0)
}
