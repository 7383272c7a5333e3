// Package virtualtest sets up software devices for tests.
package virtualtest

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
)

// Disk returns a disk with a sample image as its content, and the image. It sets the
// store and the size in c.
func Disk(t testing.TB, sample virtual.SampleConfig, c virtual.DiskConfig) (*virtual.Disk, *virtual.Image) {
	t.Helper()
	image, err := virtual.NewSample(sample)
	if err != nil {
		t.Fatal(err)
	}
	c.Store, c.Size = image, image.Size()
	disk, err := virtual.NewDisk(c)
	if err != nil {
		t.Fatal(err)
	}
	return disk, image
}

// Bus returns a bus with these devices.
func Bus(t testing.TB, gadgets ...virtual.Gadget) *virtual.Bus {
	t.Helper()
	bus, err := virtual.New(virtual.Config{Gadgets: gadgets})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

// Open opens a device of a bus. The device is closed when the test ends.
func Open(t testing.TB, bus usb.Bus, id string) usb.Device {
	t.Helper()
	dev, err := bus.Open(id, usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

// OpenDisk opens a disk with a sample image on a bus of its own.
func OpenDisk(t testing.TB, sample virtual.SampleConfig, c virtual.DiskConfig) (usb.Device, *virtual.Image) {
	t.Helper()
	disk, image := Disk(t, sample, c)
	bus := Bus(t, disk)
	list, err := bus.Devices()
	if err != nil {
		t.Fatal(err)
	}
	return Open(t, bus, list[0].ID), image
}
