package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Devices implements localapi.Devices.
type Devices struct {
	Store   *state.Store
	Sharing *sharing.Manager
}

// Devices implements localapi.Devices.
func (d Devices) Devices(context.Context) ([]localapi.Device, error) {
	devices, err := d.Sharing.Devices()
	if err != nil && len(devices) == 0 {
		return nil, problem(err)
	}
	shares := d.Store.State().Shares
	list := make([]localapi.Device, 0, len(devices))
	for _, dev := range devices {
		view := localapi.Device{
			ID: dev.ID, Name: dev.Name(), VendorID: dev.Vendor, ProductID: dev.Product, Serial: dev.Serial,
			Speed: speedName(dev.Speed), Kind: kindName(dev.Info), Backend: dev.Backend, InUse: dev.InUse,
		}
		if !dev.Holder.IsZero() {
			view.UsedBy = d.Store.PeerName(dev.Holder)
			view.InUse = "" // the peer uses it through this agent
		}
		for _, s := range shares {
			if sharing.Selects(s.Device, dev.Info) {
				share := d.shareView(s)
				view.Share = &share
				break
			}
		}
		list = append(list, view)
	}
	return list, nil
}

// Share implements localapi.Devices.
func (d Devices) Share(_ context.Context, r localapi.ShareRequest) (localapi.Share, error) {
	known := d.Store.State()
	share := state.Share{Device: r.Device, Force: r.Force, Until: r.Until}
	for _, name := range r.With {
		p, err := known.Find(name)
		if err != nil {
			return localapi.Share{}, problem(err)
		}
		share.Peers = append(share.Peers, p.ID)
	}
	found, err := d.Sharing.Find(r.Device)
	switch {
	case err != nil && len(found) == 0:
		return localapi.Share{}, problem(err)
	case len(found) == 0:
		return localapi.Share{}, problem(fmt.Errorf("%w: %s; see \"easyfind devices\"", usb.ErrNotFound, r.Device))
	case len(found) > 1:
		return localapi.Share{}, invalid(
			"%d devices match %s: give the bus id of the one you mean; see \"easyfind devices\"", len(found), r.Device)
	case found[0].InUse != "" && !r.Force && found[0].Holder.IsZero():
		return localapi.Share{}, &localapi.Problem{Code: localapi.CodeInUse, Detail: fmt.Sprintf(
			"this machine uses %s itself (%s): stop that first, or take the device away from it with --force",
			found[0].ID, found[0].InUse)}
	}
	if err := d.Store.PutShare(share); err != nil {
		return localapi.Share{}, problem(err)
	}
	return d.shareView(share), nil
}

// Unshare implements localapi.Devices. The selector may differ from the one that the
// device was shared with.
func (d Devices) Unshare(_ context.Context, selector string) error {
	err := d.Store.RemoveShare(selector)
	if !errors.Is(err, state.ErrNotShared) {
		return problem(err)
	}
	found, _ := d.Sharing.Find(selector) // without a list, the device is not found
	for _, dev := range found {
		for _, s := range d.Store.State().Shares {
			if sharing.Selects(s.Device, dev.Info) {
				return problem(d.Store.RemoveShare(s.Device))
			}
		}
	}
	return problem(err)
}

func (d Devices) shareView(s state.Share) localapi.Share {
	share := localapi.Share{Device: s.Device, With: []string{}, Force: s.Force, Until: s.Until}
	for _, id := range s.Peers {
		share.With = append(share.With, d.Store.PeerName(id))
	}
	return share
}

func speedName(s usb.Speed) string {
	return map[usb.Speed]string{
		usb.SpeedLow: "1.5 Mbit/s", usb.SpeedFull: "12 Mbit/s", usb.SpeedHigh: "480 Mbit/s",
		usb.SpeedSuper: "5 Gbit/s", usb.SpeedSuperPlus: "10 Gbit/s",
	}[s]
}

// kindName returns the kind of a device in plain words, by its class or by the class
// of its first interface (https://www.usb.org/defined-class-codes). It returns "" for
// other classes.
func kindName(i usb.Info) string {
	class, protocol := i.Class, i.Protocol
	if class == 0 || class == 0xef {
		if len(i.Interfaces) == 0 {
			return ""
		}
		class, protocol = i.Interfaces[0].Class, i.Interfaces[0].Protocol
	}
	if class == 0x03 {
		return map[uint8]string{1: "keyboard", 2: "mouse"}[protocol]
	}
	return map[uint8]string{
		0x01: "audio", 0x02: "modem or serial port", 0x06: "camera", 0x07: "printer", 0x08: "disk", 0x09: "hub",
		0x0b: "smart card reader", 0x0e: "video", 0xe0: "wireless adapter", 0xff: "vendor-specific",
	}[class]
}
