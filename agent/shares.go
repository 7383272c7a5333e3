package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Devices implements localapi.Backend.
func (a *Agent) Devices(context.Context) ([]localapi.Device, error) {
	devices, err := a.sharing.Devices()
	if err != nil && len(devices) == 0 {
		return nil, problem(err)
	}
	known := a.store.State()
	list := make([]localapi.Device, 0, len(devices))
	for _, d := range devices {
		view := localapi.Device{
			ID: d.ID, Name: d.Name(), VendorID: d.Vendor, ProductID: d.Product, Serial: d.Serial,
			Speed: speedOf(d.Speed), Kind: kindOf(d.Info), Backend: d.Backend, InUse: d.InUse,
		}
		if !d.Holder.IsZero() {
			view.UsedBy = a.peers.Name(d.Holder)
			view.InUse = "" // by the peer, through this agent
		}
		for _, s := range known.Shares {
			if sharing.Selects(s.Device, d.Info) {
				share := a.shareOf(s)
				view.Share = &share
				break
			}
		}
		list = append(list, view)
	}
	return list, nil
}

// Share implements localapi.Backend.
func (a *Agent) Share(_ context.Context, r localapi.ShareRequest) (localapi.Share, error) {
	known := a.store.State()
	share := state.Share{Device: r.Device, Force: r.Force, Until: r.Until}
	for _, who := range r.With {
		p, err := known.Find(who)
		if err != nil {
			return localapi.Share{}, problem(err)
		}
		share.Peers = append(share.Peers, p.ID)
	}
	found, err := a.sharing.Find(r.Device)
	switch {
	case err != nil && len(found) == 0:
		return localapi.Share{}, problem(err)
	case len(found) == 0:
		return localapi.Share{}, problem(fmt.Errorf("%w: %s; see \"easyfind devices\"", usb.ErrNotFound, r.Device))
	case len(found) > 1:
		return localapi.Share{}, &localapi.Problem{Code: localapi.CodeInvalid, Detail: fmt.Sprintf("%d devices are %s: give the bus id of the one you mean; see \"easyfind devices\"", len(found), r.Device)}
	case found[0].InUse != "" && !r.Force && found[0].Holder.IsZero():
		return localapi.Share{}, &localapi.Problem{Code: localapi.CodeInUse, Detail: fmt.Sprintf("this machine uses %s itself (%s): stop that first, or take the device away from it with --force", found[0].ID, found[0].InUse)}
	}
	if err := a.store.PutShare(share); err != nil {
		return localapi.Share{}, problem(err)
	}
	return a.shareOf(share), nil
}

// Unshare implements localapi.Backend. The device may be named otherwise than
// when it was shared.
func (a *Agent) Unshare(_ context.Context, device string) error {
	err := a.store.RemoveShare(device)
	if !errors.Is(err, state.ErrNotShared) {
		return problem(err)
	}
	found, _ := a.sharing.Find(device)
	for _, d := range found {
		for _, s := range a.store.State().Shares {
			if sharing.Selects(s.Device, d.Info) {
				return problem(a.store.RemoveShare(s.Device))
			}
		}
	}
	return problem(err)
}

func (a *Agent) shareOf(s state.Share) localapi.Share {
	share := localapi.Share{Device: s.Device, With: []string{}, Force: s.Force, Until: s.Until}
	for _, id := range s.Peers {
		share.With = append(share.With, a.peers.Name(id))
	}
	return share
}

func speedOf(s usb.Speed) string {
	return map[usb.Speed]string{
		usb.SpeedLow: "1.5 Mbit/s", usb.SpeedFull: "12 Mbit/s", usb.SpeedHigh: "480 Mbit/s",
		usb.SpeedSuper: "5 Gbit/s", usb.SpeedSuperPlus: "10 Gbit/s",
	}[s]
}

// kindOf is what a device is, by the class of its first interface, or by its own
// (https://www.usb.org/defined-class-codes).
func kindOf(i usb.Info) string {
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
