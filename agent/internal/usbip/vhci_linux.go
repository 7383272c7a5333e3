package usbip

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// The controller's files (drivers/usb/usbip/vhci_sysfs.c): only vhci_hcd.0 has
// attach and detach, whatever the number of controllers.
const (
	controllers = "devices/platform/vhci_hcd.*"
	controller  = "devices/platform/vhci_hcd.0"
	portFree    = 4 // VDEV_ST_NULL
	portInUse   = 6 // VDEV_ST_USED
)

// Find looks for the controller, loading its module if it may. The error wraps
// ErrNoVHCI or usb.ErrPermission.
func (v *VHCI) Find() error {
	if _, err := os.Stat(v.file("")); errors.Is(err, os.ErrNotExist) {
		exec.Command("modprobe", "-q", "vhci_hcd").Run() // the second look tells whether it helped
		if _, err := os.Stat(v.file("")); err != nil {
			return ErrNoVHCI
		}
	}
	f, err := os.OpenFile(v.file("attach"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("%w: vhci_hcd is root's: run the agent as root, or use the device with --endpoint", usb.ErrPermission)
	}
	f.Close()
	return nil
}

// file is one of the controller.
func (v *VHCI) file(name string) string { return filepath.Join(v.sys, controller, name) }

// attach takes a port and returns our end of the socket that it reads.
func (v *VHCI) attach(i usb.Info) (int, net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("socket for vhci_hcd: %w", err)
	}
	defer unix.Close(fds[0]) // the kernel holds its own reference
	ours := os.NewFile(uintptr(fds[1]), "vhci")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return 0, nil, fmt.Errorf("socket for vhci_hcd: %w", err)
	}
	port, err := v.take(fds[0], i)
	if err != nil {
		conn.Close()
	}
	return port, conn, err
}

// take writes the kernel's end of the socket into a port that will have it:
// between reading the table and writing, another program may take the port. It
// is the port that was not taken here for the longest, and any of those that
// never were, for an agent started again does not know: while the kernel is
// still busy with the device that was in a port before, it takes one that comes
// there for the old one, and never sets its configuration
// (hub_port_connect_change in drivers/usb/core/hub.c).
func (v *VHCI) take(fd int, i usb.Info) (int, error) {
	hub := "hs"
	speed := vhciSpeed(i.Speed)
	if speed >= uint32(usb.SpeedSuper) {
		hub = "ss"
	}
	ports, err := v.ports()
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	rand.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	slices.SortStableFunc(ports, func(a, b port) int { return cmp.Compare(v.last[a.number], v.last[b.number]) })
	devID := i.BusNumber<<16 | i.DeviceNumber&0xffff
	for _, p := range ports {
		if p.hub != hub || p.state != portFree {
			continue
		}
		err = os.WriteFile(v.file("attach"), fmt.Appendf(nil, "%d %d %d %d", p.number, fd, devID, speed), 0)
		if err == nil {
			v.taken++
			v.last[p.number] = v.taken
			return p.number, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return 0, fmt.Errorf("vhci_hcd port %d: %w", p.number, err)
		}
	}
	return 0, ErrNoPort
}

// port is a row of the controller's table.
type port struct {
	hub    string // "hs" or "ss"
	number int
	state  int
	busID  string // "0-0" until the kernel has numbered the device
}

// ports reads status, status.1, and so on.
func (v *VHCI) ports() ([]port, error) {
	names, err := filepath.Glob(v.file("status*"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("vhci_hcd status: none in %s", v.file(""))
	}
	var all []port
	for _, name := range names {
		table, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("vhci_hcd status: %w", err)
		}
		all = append(all, parsePorts(string(table))...)
	}
	return all, nil
}

// parsePorts reads rows such as
//
//	hub port sta spd dev      sockfd local_busid
//	hs  0000 006 002 00010001 000003 1-1
func parsePorts(table string) []port {
	var rows []port
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) != 7 || f[0] == "hub" {
			continue
		}
		number, err1 := strconv.Atoi(f[1])
		state, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil {
			rows = append(rows, port{f[0], number, state, f[6]})
		}
	}
	return rows
}
