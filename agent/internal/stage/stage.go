// Package stage hides the distance to a remote device. A stage is a [usb.Device]
// that wraps a usb.Device and changes when URBs travel, never what they mean:
//
//	client:  vhci or USB/IP server ──► stages of Wrap ──► session
//	host:    session ──► guard ──► backend
//
// A device gets the stages of [kinds] that are made for it. The enumeration stage is made
// for every device: it answers requests for descriptors. The storage stage sends
// URBs ahead that must reach the device one by one; it needs the guard on the host,
// see package guard. The other stages work with every host.
//
// The rules for every stage:
//
//   - It completes an OUT early only if a later answer of the same exchange is the
//     verdict on it. An error is reported there. The exception is a write cache, which
//     the owner of the use turns on and the driver knows of.
//   - It reads ahead only what has no side effects.
//   - When in doubt, it drops what it has and passes URBs unchanged.
package stage

import (
	"fmt"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/ahead"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/counts"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/enumeration"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/interrupt"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/isochronous"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/storage"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/stream"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Config says for which devices there are no stages, and which disks have a write cache.
type Config struct {
	Off        bool // no device has a stage
	WriteCache bool // every disk has a write cache, see package storage
	// Without and WriteCached list devices as "vvvv:pppp", lower-case hexadecimal. A disk
	// in WriteCached has a write cache.
	Without, WriteCached []string
}

// kindOf returns the kind of a device as Config lists it.
func kindOf(info usb.Info) string { return fmt.Sprintf("%04x:%04x", info.Vendor, info.Product) }

// ErrLost is the error of [Device.Close] if a disk does not have data that were reported
// as written, because of its write cache.
var ErrLost = storage.ErrLost

// Device is a remote device with its stages.
type Device struct {
	usb.Device
	remote usb.Device
	stages []member
}

// layer is a stage of one device.
type layer interface {
	usb.Device
	// Stats returns why the stage is off for good, if it is, and what it has done.
	Stats() (off string, work counts.Counts)
}

// member is a stage that is made for a device.
type member struct {
	kind
	layer layer  // nil: the stage is off
	off   string // the reason for that
}

// kind is a kind of stage.
type kind struct {
	name    string
	unit    string              // a name for the work that it counts, in the plural
	fits    func(usb.Info) bool // whether the stage is made for a device
	guarded bool                // whether the stage needs the guard on the host
	posts   bool                // whether the stage posts transfers ahead that nothing may answer
	wrap    wrapper
}

// kinds lists all stages. Those at the end are nearer to the driver.
var kinds = []kind{
	// Next to the session, with which it exchanges more than URBs.
	{name: "isochronous", unit: "transfers", fits: isochronous.Fits, wrap: ignoring(isochronous.New)},
	{name: "storage", unit: "commands", fits: storage.IsDisk, guarded: true, wrap: wrapDisk},
	aheadKind("interrupt", "reports", interrupt.Plan),
	aheadKind("serial", "transfers", stream.Serial),
	aheadKind("exchange", "transfers", stream.Exchange),
	{name: "enumeration", unit: "requests", fits: isDescribed, wrap: ignoring(enumeration.New)},
}

// wrapper returns a device with a stage, or nil and the reason why the stage is off.
type wrapper func(below usb.Device, o options) (layer, string)

// options holds what a stage may depend on.
type options struct {
	limits     ahead.Limits
	writeCache bool
}

func wrapDisk(below usb.Device, o options) (layer, string) {
	create := func(below usb.Device) (*storage.Stage, string) {
		return storage.New(below, storage.Config{WriteCache: o.writeCache})
	}
	return ignoring(create)(below, o)
}

// ignoring returns a wrapper with a stage that depends on no options.
func ignoring[S layer](create func(usb.Device) (S, string)) wrapper {
	return func(below usb.Device, _ options) (layer, string) {
		s, off := create(below)
		if off != "" { // a nil pointer in a layer would not be nil
			return nil, off
		}
		return s, ""
	}
}

// aheadKind returns a kind of stage that posts transfers ahead as a plan says.
func aheadKind(name, unit string, plan func(usb.Info) ahead.Plan) kind {
	return kind{
		name: name, unit: unit, posts: true,
		fits: func(info usb.Info) bool { return !plan(info).IsEmpty() },
		wrap: func(below usb.Device, o options) (layer, string) {
			return ahead.New(below, plan(below.Info()), o.limits), ""
		},
	}
}

// isDescribed reports whether the host has sent the descriptors of a device.
func isDescribed(info usb.Info) bool { return len(info.Descriptors) > 0 }

// maxAhead is the greatest number of transfers that all stages of a device post ahead. A
// device has at most 512 URBs in flight.
const maxAhead = 384

// Wrap returns a remote device with the stages that fit it. The caller closes the
// result instead of dev.
func Wrap(dev usb.Device, cfg Config) *Device {
	d := &Device{Device: dev, remote: dev}
	info := dev.Info()
	fitting := slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return !k.fits(info) })
	posting := 0
	for _, k := range fitting {
		if k.posts {
			posting++
		}
	}
	o := options{
		limits:     ahead.Limits{RoundTrip: d.roundTrip, Transfers: maxAhead / max(1, posting)},
		writeCache: cfg.WriteCache || slices.Contains(cfg.WriteCached, kindOf(info)),
	}
	for _, k := range fitting {
		m := member{kind: k, off: d.refuse(k, cfg)}
		if m.off == "" {
			m.layer, m.off = k.wrap(d.Device, o)
		}
		if m.layer != nil {
			d.Device = m.layer
		}
		if b, ok := m.layer.(interface {
			Begin(report func(detail string))
		}); ok {
			b.Begin(d.reject)
		}
		d.stages = append(d.stages, m)
	}
	return d
}

// refuse returns the reason why the device must not have a stage of the kind, or "".
func (d *Device) refuse(k kind, cfg Config) string {
	g, ok := d.remote.(interface{ Guarded() bool })
	switch {
	case cfg.Off:
		return "turned off for this use"
	case slices.Contains(cfg.Without, kindOf(d.remote.Info())):
		return "turned off in the settings for this kind of device"
	case k.guarded && (!ok || !g.Guarded()):
		return "the other machine's agent does not support it: upgrade it"
	}
	return ""
}

// reject ends the attachment because the device is not the one that was agreed to.
func (d *Device) reject(detail string) {
	if r, ok := d.remote.(interface{ Reject(detail string) }); ok {
		r.Reject(detail)
	}
}

// roundTrip returns the measured round trip to the host, or 0.
func (d *Device) roundTrip() time.Duration {
	if r, ok := d.remote.(interface{ RoundTrip() time.Duration }); ok {
		return r.RoundTrip()
	}
	return 0
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
	Unit string // a name for the work that is counted, in the plural
	Off  string // the reason why the stage is off; empty: it is on
	counts.Counts
}

// Stats returns the stages that are made for the device, also those that are off.
func (d *Device) Stats() []Stats {
	var list []Stats
	for _, m := range d.stages {
		s := Stats{Name: m.name, Unit: m.unit, Off: m.off}
		if m.layer != nil {
			s.Off, s.Counts = m.layer.Stats()
		}
		list = append(list, s)
	}
	return list
}
