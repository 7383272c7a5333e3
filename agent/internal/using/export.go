package using

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Exports returns the devices that the loopback server offers.
func (m *Manager) Exports() []usb.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	var infos []usb.Info
	for _, a := range m.all {
		if a.exported != nil {
			infos = append(infos, a.exported.Info())
		}
	}
	slices.SortFunc(infos, func(a, b usb.Info) int { return cmp.Compare(a.DeviceNumber, b.DeviceNumber) })
	return infos
}

// Import opens an exported device for one client of the loopback server.
func (m *Manager) Import(busID string) (usb.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.all {
		if a.exported == nil || a.exported.Info().ID != busID {
			continue
		}
		if a.imported {
			return nil, fmt.Errorf("%w by another USB/IP client", usb.ErrInUse)
		}
		a.imported = true
		return &importedDevice{Device: a.exported, release: sync.OnceFunc(func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			a.imported = false
		})}, nil
	}
	return nil, usb.ErrNotFound
}

// importedDevice is a device that stays attached after its USB/IP client closes it.
type importedDevice struct {
	usb.Device
	release func()
}

func (d *importedDevice) Close() error {
	d.release()
	return nil
}

// numberedDevice is a device with the bus id and numbers that USB/IP clients see.
type numberedDevice struct {
	usb.Device
	info usb.Info
}

func (d numberedDevice) Info() usb.Info { return d.info }

func (d numberedDevice) Why() error { return endReason(d.Device) }
