package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sectorSize is the unit of the size of a block device in sysfs
// (Documentation/ABI/stable/sysfs-block).
const sectorSize = 512

// kernelFiles holds the directories of vhci_hcd and of the device files.
type kernelFiles struct{ controller, devices string }

var linux = kernelFiles{controller: "/sys/devices/platform/vhci_hcd.0", devices: "/dev"}

// openKernelDisk waits until the kernel has a block device for the disk in that port of
// vhci_hcd, and opens it.
func (d *Demo) openKernelDisk(ctx context.Context, port int) (*remoteDisk, error) {
	var f *os.File
	err := d.processes.await(ctx, "this kernel to have the disk ready", func(context.Context) (bool, error) {
		var err error
		f, err = linux.open(port)
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the disk in this kernel: %w", err), f.Close())
	}
	return &remoteDisk{
		blocks: io.NewSectionReader(f, 0, size), blockSize: sectorSize, where: f.Name(), close: f.Close,
	}, nil
}

// open opens the disk in a port for reading. It fails for a short time after sysfs shows
// the disk.
func (k kernelFiles) open(port int) (*os.File, error) {
	name, err := k.blockDevice(port)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(k.devices, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf(
			"this kernel has the disk, but no file for it (%w): in a container, mount the /dev of the machine", err)
	}
	return f, err
}

// blockDevice returns the name of the disk in a port, such as "sdb". It returns an error
// until the disk is ready.
func (k kernelFiles) blockDevice(port int) (string, error) {
	tables, err := filepath.Glob(filepath.Join(k.controller, "status*"))
	if err != nil {
		return "", err
	}
	for _, table := range tables {
		raw, err := os.ReadFile(table)
		if err != nil {
			return "", fmt.Errorf("ports of vhci_hcd: %w", err)
		}
		// hub port sta spd dev      sockfd local_busid
		for row := range strings.Lines(string(raw)) {
			f := strings.Fields(row)
			if len(f) != 7 {
				continue
			}
			if n, err := strconv.Atoi(f[1]); err == nil && n == port {
				return k.diskOf(f[6])
			}
		}
	}
	return "", fmt.Errorf("vhci_hcd has no port %d", port)
}

// diskOf returns the name of the disk of a USB device with that bus id. The disk is ready
// when its size is known.
func (k kernelFiles) diskOf(busID string) (string, error) {
	// The directories of further controllers are next to that of the first one.
	found, err := filepath.Glob(filepath.Join(filepath.Dir(k.controller),
		"vhci_hcd.*", "usb*", busID, "*", "host*", "target*", "*", "block", "*"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("USB device %s has %d disks so far", busID, len(found))
	}
	size, err := os.ReadFile(filepath.Join(found[0], "size"))
	if err != nil || strings.TrimSpace(string(size)) == "0" {
		return "", errors.Join(fmt.Errorf("the disk of USB device %s has no size yet", busID), err)
	}
	return filepath.Base(found[0]), nil
}
