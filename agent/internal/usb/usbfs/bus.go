//go:build linux

package usbfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"golang.org/x/sys/unix"
)

// bus implements [usb.Bus].
type bus struct {
	devices string // bus/usb/devices in sysfs: an entry for each device and interface
	dev     string // see Config.Dev
	proc    string // see Config.Proc
}

// New returns the bus of this machine. It fails if the kernel has no USB.
func New(c Config) (usb.Bus, error) {
	if c.Sys == "" {
		c.Sys = "/sys"
	}
	if c.Dev == "" {
		c.Dev = "/dev/bus/usb"
	}
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	b := &bus{devices: filepath.Join(c.Sys, "bus/usb/devices"), dev: c.Dev, proc: c.Proc}
	if _, err := os.Stat(b.devices); err != nil {
		return nil, fmt.Errorf("this machine's kernel has no USB (%w): share virtual devices, "+
			"or load the driver of the host controller", err)
	}
	return b, nil
}

// Devices implements [usb.Bus]. It omits root hubs, which are part of the host
// controllers.
func (b *bus) Devices() ([]usb.Info, error) {
	entries, err := os.ReadDir(b.devices) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("list of USB devices: %w", err)
	}
	use, err := readUse(b.proc)
	if err != nil {
		return nil, fmt.Errorf("list of mounts, swap areas and routes: %w", err)
	}
	list := make([]usb.Info, 0, len(entries))
	for _, e := range entries {
		if !isBusID(e.Name()) {
			continue
		}
		i, err := readDevice(filepath.Join(b.devices, e.Name()))
		if err != nil {
			continue // unplugged since ReadDir, or not yet complete: an event follows when it is
		}
		i.InUse = use.reason(filepath.Join(b.devices, e.Name()), i)
		list = append(list, i)
	}
	return list, nil
}

// Open implements [usb.Bus]. It never opens a hub, not even with Force: the
// kernel would lose all devices behind the hub.
func (b *bus) Open(id string, o usb.OpenOptions) (usb.Device, error) {
	if !isBusID(id) {
		return nil, fmt.Errorf("%q: %w", id, usb.ErrNotFound)
	}
	dir := filepath.Join(b.devices, id)
	info, err := readDevice(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", id, usb.ErrNotFound, err)
	}
	if isHub(info) {
		return nil, fmt.Errorf("%s: %w: it is a hub", id, usb.ErrInUse)
	}
	if !o.Force {
		use, err := readUse(b.proc)
		if err != nil {
			return nil, fmt.Errorf("list of mounts, swap areas and routes: %w", err)
		}
		if info.InUse = use.reason(dir, info); info.InUse != "" {
			return nil, fmt.Errorf("%s: %w: %s", id, usb.ErrInUse, info.InUse)
		}
	}
	node := filepath.Join(b.dev, fmt.Sprintf("%03d/%03d", info.BusNumber, info.DeviceNumber))
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w: run the agent as root, or let it write %s", id, usb.ErrPermission, node)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w: %s does not exist", id, usb.ErrNotFound, node)
	case err != nil:
		return nil, fmt.Errorf("%s: opening %s: %w", id, node, err)
	}
	d, err := openDevice(fd, dir, info)
	if err != nil {
		_ = unix.Close(fd) // nothing is buffered: the error of openDevice matters more
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return d, nil
}

// openDevice claims the interfaces of the device behind fd. On success the
// device owns fd; on failure the caller still does.
func openDevice(fd int, dir string, info usb.Info) (*device, error) {
	parsed, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return nil, err
	}
	// Between reading sysfs and opening the node, the kernel may have given the
	// same number to another device.
	var current [18]byte
	n, err := unix.Pread(fd, current[:], 0)
	if err != nil || n != len(current) || !bytes.Equal(current[:], parsed.Device) {
		return nil, fmt.Errorf("%w: another device has just taken its place", usb.ErrNotFound)
	}
	h := &handle{fd: fd, dir: dir}
	if err := h.claim(); err != nil {
		h.release()
		h.reconnect()
		if errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("%w: another program has claimed it", usb.ErrInUse)
		}
		return nil, err
	}
	d, err := newDevice(h, info, parsed)
	if err != nil {
		h.release()
		h.reconnect()
		return nil, err
	}
	d.start()
	return d, nil
}
