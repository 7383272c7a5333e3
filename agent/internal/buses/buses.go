// Package buses opens the USB buses whose devices the agent can share: those of the
// machine or of a USB/IP server, and one with devices made of software.
package buses

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/libusb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbfs"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbip"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
)

// Config selects the buses.
type Config struct {
	Backend string   // see CheckBackend
	Virtual []string // kinds of software devices: "disk", "keyboard"
	Disk    string   // a file with the blocks of another software disk; empty: none
	Logger  *slog.Logger
}

// usbipPrefix begins the name of a backend that imports from a USB/IP server, and
// usbipPort is the server's port if the name has none.
const (
	usbipPrefix = "usbip://"
	usbipPort   = "3240"
)

// CheckBackend returns an error unless the backend is "usbfs", "libusb",
// "usbip://HOST:PORT", "none" or empty, which means none.
func CheckBackend(backend string) error {
	switch backend {
	case "usbfs", "libusb", "none", "":
		return nil
	}
	server, ok := usbipServer(backend)
	if ok {
		_, err := usbip.New(usbip.Config{Server: server})
		ok = err == nil
	}
	if !ok {
		return fmt.Errorf(
			"%q is no source of USB devices: give usbfs, libusb, usbip://HOST:PORT or none with --backend", backend)
	}
	return nil
}

// usbipServer returns the address of the USB/IP server that a backend names.
func usbipServer(backend string) (addr string, ok bool) {
	u, err := url.Parse(backend)
	if err != nil || !strings.HasPrefix(backend, usbipPrefix) || u.Hostname() == "" ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), usbipPort)), true
}

// Open opens the buses. The caller calls closeFiles when it no longer uses the
// buses, also after an error.
func Open(cfg Config) (all usb.Buses, closeFiles func(), err error) {
	closeFiles = func() {}
	switch cfg.Backend {
	case "usbfs":
		bus, err := usbfs.New(usbfs.Config{})
		if err != nil {
			cfg.Logger.Info("cannot use the USB devices of this machine", "err", err)
			break
		}
		all = append(all, bus)
	case "libusb":
		bus, err := libusb.New(libusb.Config{InUse: kernelUse})
		if err != nil {
			return nil, closeFiles, err
		}
		all = append(all, bus)
	default:
		server, ok := usbipServer(cfg.Backend)
		if !ok {
			break
		}
		bus, err := usbip.New(usbip.Config{Server: server})
		if err != nil {
			return nil, closeFiles, err
		}
		all = append(all, bus)
	}
	devices, closeFiles, err := softwareDevices(cfg)
	if err != nil {
		return nil, closeFiles, err
	}
	if len(devices) > 0 {
		bus, err := virtual.New(virtual.Config{Gadgets: devices})
		if err != nil {
			return nil, closeFiles, err
		}
		all = append(all, bus)
	}
	return all, closeFiles, nil
}

// kernelUse returns the reason why this machine needs a device itself. libusb does
// not know it, so kernelUse asks the kernel. Without usbfs it returns "".
func kernelUse(i usb.Info) string {
	kernel, err := usbfs.New(usbfs.Config{})
	if err != nil {
		return ""
	}
	devices, err := kernel.Devices()
	if err != nil {
		return ""
	}
	for _, d := range devices {
		if d.BusNumber == i.BusNumber && d.DeviceNumber == i.DeviceNumber {
			return d.InUse
		}
	}
	return ""
}

// softwareDevices creates the devices made of software.
func softwareDevices(cfg Config) (all []virtual.Gadget, closeFiles func(), err error) {
	closeFiles = func() {}
	for _, kind := range cfg.Virtual {
		switch kind {
		case "disk":
			image, err := virtual.NewSample(virtual.SampleConfig{})
			if err != nil {
				return nil, closeFiles, err
			}
			disk, err := virtual.NewDisk(virtual.DiskConfig{Store: image, Size: image.Size()})
			if err != nil {
				return nil, closeFiles, err
			}
			all = append(all, disk)
		case "keyboard":
			all = append(all, virtual.NewKeyboard(virtual.KeyboardConfig{Greeting: virtual.SampleGreeting}))
		default:
			return nil, closeFiles, fmt.Errorf("no software device %q: --virtual takes disk and keyboard", kind)
		}
	}
	if cfg.Disk == "" {
		return all, closeFiles, nil
	}
	f, err := os.OpenFile(cfg.Disk, os.O_RDWR, 0)
	if err != nil {
		return nil, closeFiles, fmt.Errorf("--virtual-disk: %w", err)
	}
	closeFiles = func() { f.Close() }
	stat, err := f.Stat()
	if err == nil {
		var disk *virtual.Disk
		disk, err = virtual.NewDisk(virtual.DiskConfig{
			ID: "v-file", Serial: "EF0000000003", Store: f, Size: stat.Size(),
		})
		all = append(all, disk)
	}
	if err != nil {
		err = fmt.Errorf("--virtual-disk %s: %w", cfg.Disk, err)
	}
	return all, closeFiles, err
}
