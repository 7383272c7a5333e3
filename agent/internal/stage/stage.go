// Package stage hides the distance to a remote device. A stage is a [usb.Device]
// that wraps a usb.Device and changes when URBs travel, never what they mean:
//
//	client:  vhci or USB/IP server ──► stages of Wrap ──► session
//	host:    session ──► guard ──► backend
//
// The only stage so far is that of disks, see package storage. It sends URBs ahead,
// and needs the guard on the host, see package guard.
//
// The rules for every stage:
//
//   - It completes an OUT early only if a later answer of the same exchange is the
//     verdict on it. An error is reported there.
//   - It reads ahead only what has no side effects.
//   - When in doubt, it drops what it has and passes URBs unchanged.
package stage

import (
	"fmt"
	"slices"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Config says for which devices there are no stages.
type Config struct {
	Off bool // for none
	// Without lists devices as "vvvv:pppp", lower-case hexadecimal.
	Without []string
}

// Device is a remote device with its stages.
type Device struct {
	usb.Device
	remote  usb.Device
	storage *storage.Stage // nil: the device has no stage
	off     string         // the reason for that; empty: the device is not a disk
}

// Wrap returns a remote device with the stages that fit it. The caller closes the
// result instead of dev.
func Wrap(dev usb.Device, cfg Config) *Device {
	d := &Device{Device: dev, remote: dev}
	info := dev.Info()
	guarded, ok := dev.(interface{ Guarded() bool })
	switch {
	case !storage.IsDisk(info):
	case cfg.Off:
		d.off = "turned off for this use"
	case slices.Contains(cfg.Without, fmt.Sprintf("%04x:%04x", info.Vendor, info.Product)):
		d.off = "turned off in the settings for this kind of device"
	case !ok || !guarded.Guarded():
		d.off = "the other machine's agent does not support it: upgrade it"
	default:
		d.storage, d.off = storage.New(dev)
	}
	if d.storage != nil {
		d.Device = d.storage
	}
	return d
}

// Submit implements [usb.Device].
func (d *Device) Submit(u *usb.URB) {
	guard.Clear(u) // only stages mark URBs
	d.Device.Submit(u)
}

// Why returns why the remote device is gone, or nil.
func (d *Device) Why() error {
	if w, ok := d.remote.(interface{ Why() error }); ok {
		return w.Why()
	}
	return nil
}

// Stats holds the work of a stage since the device was attached.
type Stats struct {
	Name string
	Off  string // the reason why the stage is off; empty: it is on
	storage.Counts
}

// Stats returns the stages that are made for the device, also those that are off.
func (d *Device) Stats() []Stats {
	const name = "storage"
	switch {
	case d.storage != nil:
		off, counts := d.storage.Stats()
		return []Stats{{Name: name, Off: off, Counts: counts}}
	case d.off != "":
		return []Stats{{Name: name, Off: d.off}}
	}
	return nil
}
