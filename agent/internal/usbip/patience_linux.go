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

// What SCSI allows a device that is here (drivers/scsi/sd.h, scsi_priv.h): a
// command, and each step of its recovery when that has failed.
const (
	commandTime  = 30 * time.Second
	recoveryTime = 10 * time.Second
)

// patience raises the timers of a far disk's commands by as long as a link may
// be lost, so that the kernel does not reset or give up what only waits. It
// follows the disks of one port: a card reader has several, some devices none
// before they are configured.
type patience struct {
	v      *VHCI
	port   int
	events *uevent.Socket
	joined sync.WaitGroup
}

// listen is called before a device takes its port, so that nothing is missed.
// Where the kernel's events cannot be had, the timers stay as they are.
func (v *VHCI) listen() *patience {
	p := &patience{v: v}
	if v.cfg.Patience <= 0 {
		return p
	}
	var err error
	if p.events, err = uevent.Open(); err != nil {
		v.cfg.Logger.Warn("far disks keep this kernel's 30 s for a command: a link that is lost for longer resets them", "err", err)
	}
	return p
}

// follow begins to look after a port, until end.
func (p *patience) follow(port int) {
	p.port = port
	if p.events == nil {
		return
	}
	p.joined.Go(func() {
		for {
			e, lost, err := p.events.Receive()
			switch {
			case err != nil:
				return
			case lost:
				p.scan()
			default:
				p.heard(e)
			}
		}
	})
}

func (p *patience) end() {
	if p.events != nil {
		_ = p.events.Close()
	}
	p.joined.Wait()
}

// heard raises the timers of a SCSI device that has appeared, before the kernel
// reads from it, and again when its driver has taken it: those of CD drives set
// their own.
func (p *patience) heard(e uevent.Event) {
	if e.Subsystem != "scsi" || e.DevType != "scsi_device" || e.Action != "add" && e.Action != "bind" {
		return
	}
	// .../vhci_hcd.0/usb3/3-1/3-1:1.0/host2/target2:0:0/2:0:0:0
	parts := strings.Split(e.Path, "/")
	for i, part := range parts[:len(parts)-1] {
		if strings.HasPrefix(part, "vhci_hcd.") && i+2 < len(parts) && parts[i+2] == p.busID() {
			p.raise(filepath.Join(p.v.sys, e.Path))
			return
		}
	}
}

// scan raises the timers of all SCSI devices of the port.
func (p *patience) scan() {
	id := p.busID()
	if id == "" {
		return
	}
	dirs, err := filepath.Glob(filepath.Join(p.v.sys, controllers, "usb*", id, id+":*", "host*", "target*", "*:*:*:*"))
	if err != nil {
		p.v.cfg.Logger.Warn("far disks", "err", err)
	}
	for _, dir := range dirs {
		p.raise(dir)
	}
}

// busID is the number that the kernel has given to the device in the port, such
// as "3-1", or empty while there is none.
func (p *patience) busID() string {
	ports, err := p.v.ports()
	if err != nil {
		p.v.cfg.Logger.Warn("far disks", "err", err)
	}
	for _, row := range ports {
		if row.number == p.port && row.state == portInUse && row.busID != "0-0" {
			return row.busID
		}
	}
	return ""
}

// raise raises the timers of one SCSI device.
func (p *patience) raise(dir string) {
	for name, own := range map[string]time.Duration{"timeout": commandTime, "eh_timeout": recoveryTime} {
		err := atLeast(filepath.Join(dir, name), own+p.v.cfg.Patience)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // unplugged meanwhile
			p.v.cfg.Logger.Warn("a far disk may be reset when the link is lost for long", "err", err)
		}
	}
}

// atLeast raises a file's number of seconds.
func atLeast(name string, want time.Duration) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	seconds := int((want + time.Second - 1) / time.Second)
	if now >= seconds {
		return nil
	}
	return os.WriteFile(name, []byte(strconv.Itoa(seconds)), 0)
}
