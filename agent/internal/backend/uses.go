package backend

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/peers"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/using"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	attachTimeout = 30 * time.Second
	// newListTimeout is the time in which a device that was shared a moment ago must
	// appear in the list of the peer.
	newListTimeout = 2 * time.Second
)

// Uses implements localapi.Uses.
type Uses struct {
	Store  *state.Store
	Set    *peers.Set
	Using  *using.Manager
	Remote Remote
	USBIP  string // the address of the loopback server; empty: none
	Logger *slog.Logger
}

// RemoteDevices implements localapi.Uses.
func (u Uses) RemoteDevices(ctx context.Context, peer string) ([]localapi.RemoteDevice, error) {
	if peer == "" {
		return u.Remote.listAll(ctx), nil
	}
	p, err := findPeer(u.Store, peer)
	if err != nil {
		return nil, err
	}
	return u.Remote.list(ctx, p, reachTimeout)
}

// Use implements localapi.Uses.
func (u Uses) Use(
	ctx context.Context, r localapi.UseRequest, progress func(localapi.Progress),
) (localapi.Use, error) {
	p, err := findPeer(u.Store, r.Peer)
	if err != nil {
		return localapi.Use{}, err
	}
	if r.NoAcceleration && r.WriteCache {
		return localapi.Use{}, invalid("a write cache is a part of the acceleration: choose one of the two")
	}
	if r.Endpoint && u.USBIP == "" {
		return localapi.Use{}, &localapi.Problem{
			Code:   localapi.CodeNotSupported,
			Detail: "this agent has no USB/IP server: start it without an empty --usbip-listen",
		}
	}
	progress(localapi.Progress{Message: "connecting to " + p.Name})
	device, err := u.awaitDevice(ctx, p, r.Device)
	if err != nil {
		return localapi.Use{}, err
	}
	progress(localapi.Progress{Message: "attaching " + device.Name})
	use := state.Use{
		Peer: p.ID, Device: device.ID, Mode: state.ModeVHCI,
		NoAcceleration: r.NoAcceleration, WriteCache: r.WriteCache,
		Limit: r.Limit,
	}
	if r.Endpoint {
		use.Mode = state.ModeEndpoint
	}
	if len(device.Descriptors) > 0 {
		use.Expect = hex.EncodeToString(session.Fingerprint(device.Descriptors))
	}
	if err := u.Store.PutUse(use); err != nil {
		return localapi.Use{}, problem(err)
	}
	attaching, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	attached, err := u.Using.AwaitAttached(attaching, use)
	if err == nil {
		return u.view(attached), nil
	}
	if err := u.release(using.Key{Peer: p.ID, Device: device.ID}); err != nil {
		u.Logger.Warn("cannot remove a use that failed", "device", device.ID, "peer", p.ID.Short(), "err", err)
	}
	if attaching.Err() != nil && ctx.Err() == nil {
		return localapi.Use{}, u.Remote.unreachable(p)
	}
	return localapi.Use{}, problem(err)
}

// awaitDevice returns the device of a peer that a selector selects. If the device is
// not in the list, awaitDevice waits a moment for a new list.
func (u Uses) awaitDevice(ctx context.Context, p state.Peer, selector string) (tunnel.Device, error) {
	var timeout <-chan time.Time
	for {
		var changed <-chan struct{}
		if running := u.Set.Get(p.ID); running != nil {
			changed = running.DevicesChanged()
		}
		devices, err := u.Remote.devices(ctx, p, reachTimeout)
		if err != nil {
			return tunnel.Device{}, err
		}
		d, err := selectDevice(devices, selector, p.Name)
		if err == nil {
			return d, nil
		}
		if timeout == nil {
			timeout = time.After(newListTimeout)
		}
		select {
		case <-changed:
		case <-timeout:
			return tunnel.Device{}, err
		case <-ctx.Done():
			return tunnel.Device{}, ctx.Err()
		}
	}
}

// selectDevice returns the device that a selector selects; see sharing.Selects.
func selectDevice(devices []tunnel.Device, selector, peer string) (tunnel.Device, error) {
	var found []tunnel.Device
	for _, d := range devices {
		if sharing.Selects(selector, session.InfoOf(d)) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return tunnel.Device{}, &localapi.Problem{Code: localapi.CodeUnknown, Detail: fmt.Sprintf(
			"%s shares no device %q with this machine: see \"easyfind ls\", and share it there with \"easyfind share\"",
			peer, selector)}
	}
	return tunnel.Device{}, invalid(
		"%d devices of %s match %s: give the bus id of the one you mean; see \"easyfind ls\"",
		len(found), peer, selector)
}

// Release implements localapi.Uses.
func (u Uses) Release(_ context.Context, name string) error {
	peer, device, hasPeer := strings.Cut(name, "/")
	var found []using.Key
	for _, use := range u.Store.State().Uses {
		isID := hasPeer && use.Device == device && strings.EqualFold(u.Store.PeerName(use.Peer), peer)
		if isID || use.Device == name {
			found = append(found, using.Key{Peer: use.Peer, Device: use.Device})
		}
	}
	switch len(found) {
	case 1:
		return problem(u.release(found[0]))
	case 0:
		return problem(state.ErrNotUsed)
	}
	return invalid("devices %s of %d peers are in use: name the one you mean as PEER/%s", name, len(found), name)
}

// release ends a use and waits until the device has been given back, even if the
// caller no longer waits.
func (u Uses) release(key using.Key) error {
	await := u.Using.Released(key)
	if err := u.Store.RemoveUse(key.Peer, key.Device); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), attachTimeout)
	defer cancel()
	return await(ctx)
}

// List returns the uses as the status shows them.
func (u Uses) List() []localapi.Use {
	list := []localapi.Use{}
	for _, use := range u.Using.List() {
		list = append(list, u.view(use))
	}
	return list
}

func (u Uses) view(use using.Use) localapi.Use {
	name := u.Store.PeerName(use.Peer)
	view := localapi.Use{
		ID: name + "/" + use.Device, Peer: name, Device: use.Device, Name: use.Info.ProductName,
		Endpoint: use.Mode == state.ModeEndpoint, Port: use.Port, BusID: use.BusID, Since: use.Since,
		Limit: use.Limit,
		State: map[using.Phase]localapi.UseState{
			using.Connecting: localapi.UseConnecting, using.Attached: localapi.UseAttached,
			using.Waiting: localapi.UseWaiting, using.Failed: localapi.UseFailed,
		}[use.Phase],
	}
	if view.Endpoint {
		view.Address = u.USBIP
	}
	for _, s := range use.Stages {
		view.Stages = append(view.Stages, localapi.Stage{
			Name: s.Name, Unit: s.Unit, Off: s.Off,
			Commands: s.Commands, Hits: s.Hits, Ahead: s.Ahead, Discarded: s.Discarded,
			WriteCache: s.WriteCache, Cached: s.Cached, Unwritten: s.Unwritten, Unsaved: s.Unsaved,
			Late: s.Late, Lost: s.Lost, Recovered: s.Recovered,
		})
	}
	if use.Reason != nil {
		view.Reason = use.Reason.Error()
	}
	if use.Phase == using.Attached && u.Set.Get(use.Peer) != nil && !u.Set.Linked(use.Peer) {
		view.Reason = "the link to " + name + " is lost; the device waits for it"
	}
	return view
}
