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

// Directories of the controllers in sysfs and states of a port
// (drivers/usb/usbip/vhci_sysfs.c, usbip_common.h). Only vhci_hcd.0 has the files
// attach and detach, which serve all controllers.
const (
	controllers = "devices/platform/vhci_hcd.*"
	controller  = "devices/platform/vhci_hcd.0"
	portFree    = 4 // VDEV_ST_NULL
	portInUse   = 6 // VDEV_ST_USED
)

// Find checks that the controller exists and that this process may use it. If
// necessary it tries to load the kernel module. Errors wrap ErrNoVHCI or
// usb.ErrPermission.
func (v *VHCI) Find() error {
	if _, err := os.Stat(v.file("")); errors.Is(err, os.ErrNotExist) {
		exec.Command("modprobe", "-q", "vhci_hcd").Run() // os.Stat below shows whether it succeeded
		if _, err := os.Stat(v.file("")); err != nil {
			return ErrNoVHCI
		}
	}
	f, err := os.OpenFile(v.file("attach"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("%w: only root may use vhci_hcd: run the agent as root, or use the device with --endpoint",
			usb.ErrPermission)
	}
	f.Close()
	return nil
}

// file returns the path of a file of the controller.
func (v *VHCI) file(name string) string { return filepath.Join(v.sys, controller, name) }

// attach attaches a device to a free port. It returns the number of the port and
// a connection on which the kernel is the importer.
func (v *VHCI) attach(i usb.Info) (int, net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("socket for vhci_hcd: %w", err)
	}
	defer unix.Close(fds[0]) // the kernel keeps a reference of its own
	socket := os.NewFile(uintptr(fds[1]), "vhci")
	defer socket.Close() // net.FileConn duplicates it
	conn, err := net.FileConn(socket)
	if err != nil {
		return 0, nil, fmt.Errorf("socket for vhci_hcd: %w", err)
	}
	port, err := v.take(fds[0], i)
	if err != nil {
		conn.Close()
	}
	return port, conn, err
}

// take attaches a device to a free port, with fd as the kernel's socket, and
// returns the number of the port. If another program takes the port meanwhile,
// take tries the next one.
//
// take prefers the port that has been free for the longest time. After a device
// is detached, the kernel needs time to remove it. A device attached to the same
// port meanwhile is taken for the old one and is never configured
// (hub_port_connect_change in drivers/usb/core/hub.c). The kernel reports no
// event when the port can be used again. Ports that this VHCI never used are
// tried first and in random order, because a previous agent may have used them.
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
	slices.SortStableFunc(ports, func(a, b port) int { return cmp.Compare(v.lastUse[a.number], v.lastUse[b.number]) })
	devID := i.BusNumber<<16 | i.DeviceNumber&0xffff
	for _, p := range ports {
		if p.hub != hub || p.state != portFree {
			continue
		}
		err = os.WriteFile(v.file("attach"), fmt.Appendf(nil, "%d %d %d %d", p.number, fd, devID, speed), 0)
		if err == nil {
			v.attached++
			v.lastUse[p.number] = v.attached
			return p.number, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return 0, fmt.Errorf("vhci_hcd port %d: %w", p.number, err)
		}
	}
	return 0, ErrNoPort
}

// port is a row of the controller's status table.
type port struct {
	hub    string // "hs" up to high speed, "ss" from SuperSpeed on
	number int
	state  int    // portFree, portInUse or another VDEV_ST_...
	busID  string // the kernel's name of the device; "0-0" until it has one
}

// ports reads the ports of all controllers from the files status, status.1 and so
// on.
func (v *VHCI) ports() ([]port, error) {
	names, err := filepath.Glob(v.file("status*"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("vhci_hcd status: no such file in %s", v.file(""))
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

// parsePorts parses a status table such as
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
