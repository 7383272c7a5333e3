package agent

import (
	"fmt"
	"os"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/libusb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbfs"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
)

// openBuses opens what the configuration names. The cleanup closes files.
func openBuses(cfg Config) (buses usb.Buses, cleanup func(), err error) {
	cleanup = func() {}
	switch cfg.Backend {
	case "usbfs":
		bus, err := usbfs.New(usbfs.Config{})
		if err != nil {
			cfg.Logger.Info("this machine's own USB devices are not available", "reason", err)
			break
		}
		buses = append(buses, bus)
	case "libusb":
		bus, err := libusb.New(libusb.Config{InUse: inUse})
		if err != nil {
			return nil, cleanup, err
		}
		buses = append(buses, bus)
	}
	gadgets, cleanup, err := gadgets(cfg)
	if err != nil {
		return nil, cleanup, err
	}
	if len(gadgets) > 0 {
		bus, err := virtual.New(virtual.Config{Gadgets: gadgets})
		if err != nil {
			return nil, cleanup, err
		}
		buses = append(buses, bus)
	}
	return buses, cleanup, nil
}

// inUse asks the kernel what libusb cannot: whether this machine needs the
// device itself. Where there is no usbfs, nobody knows.
func inUse(i usb.Info) string {
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

// gadgets makes the software devices.
func gadgets(cfg Config) (all []virtual.Gadget, cleanup func(), err error) {
	cleanup = func() {}
	for _, kind := range cfg.Virtual {
		switch kind {
		case "disk":
			image, err := virtual.NewSample(virtual.SampleConfig{})
			if err != nil {
				return nil, cleanup, err
			}
			disk, err := virtual.NewDisk(virtual.DiskConfig{Store: image, Size: image.Size()})
			if err != nil {
				return nil, cleanup, err
			}
			all = append(all, disk)
		case "keyboard":
			all = append(all, virtual.NewKeyboard(virtual.KeyboardConfig{Greeting: virtual.SampleGreeting}))
		default:
			return nil, cleanup, fmt.Errorf("no software device %q: --virtual takes disk and keyboard", kind)
		}
	}
	if cfg.Disk == "" {
		return all, cleanup, nil
	}
	f, err := os.OpenFile(cfg.Disk, os.O_RDWR, 0)
	if err != nil {
		return nil, cleanup, fmt.Errorf("--virtual-disk: %w", err)
	}
	cleanup = func() { f.Close() }
	stat, err := f.Stat()
	if err == nil {
		var disk *virtual.Disk
		disk, err = virtual.NewDisk(virtual.DiskConfig{ID: "v-file", Serial: "EF0000000003", Store: f, Size: stat.Size()})
		all = append(all, disk)
	}
	if err != nil {
		err = fmt.Errorf("--virtual-disk %s: %w", cfg.Disk, err)
	}
	return all, cleanup, err
}
