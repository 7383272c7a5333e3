package agent

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/using"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

const (
	reachTime  = 30 * time.Second // for a peer that a command asks for
	listTime   = 5 * time.Second  // for each peer when all are asked
	attachTime = 30 * time.Second
	newsTime   = 2 * time.Second // for a peer's news of what it shares to arrive
)

// RemoteDevices implements localapi.Backend.
func (a *Agent) RemoteDevices(ctx context.Context, who string) ([]localapi.RemoteDevice, error) {
	if who != "" {
		p, err := a.find(who)
		if err != nil {
			return nil, err
		}
		return a.devicesOf(ctx, p, reachTime)
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	all := map[string][]localapi.RemoteDevice{}
	paired := a.store.State().Peers
	for _, p := range paired {
		asked.Go(func() {
			list, err := a.devicesOf(ctx, p, listTime)
			if err != nil {
				a.log.Debug("devices of a peer not listed", "peer", p.Name, "err", err)
			}
			mu.Lock()
			defer mu.Unlock()
			all[p.Name] = list
		})
	}
	asked.Wait()
	list := []localapi.RemoteDevice{}
	for _, p := range paired {
		list = append(list, all[p.Name]...)
	}
	return list, nil
}

// devicesOf asks one peer what it shares.
func (a *Agent) devicesOf(ctx context.Context, p state.Peer, within time.Duration) ([]localapi.RemoteDevice, error) {
	devices, err := a.listOf(ctx, p, within)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, u := range a.store.State().Uses {
		if u.Peer == p.ID {
			used[u.Device] = true
		}
	}
	list := make([]localapi.RemoteDevice, 0, len(devices))
	for _, d := range devices {
		i := session.InfoOf(d)
		list = append(list, localapi.RemoteDevice{
			Peer: p.Name, ID: d.ID, Name: d.Name, VendorID: d.Vendor, ProductID: d.Product, Serial: d.Serial,
			Speed: speedOf(i.Speed), Kind: kindOf(i), InUseBy: d.InUseBy, Used: used[d.ID],
		})
	}
	return list, nil
}

// listOf reaches a peer and returns its list.
func (a *Agent) listOf(ctx context.Context, p state.Peer, within time.Duration) ([]tunnel.Device, error) {
	r := a.peers.get(p.ID)
	if r == nil {
		return nil, problem(state.ErrUnknownPeer)
	}
	defer r.Want()()
	asking, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	devices, err := r.Session().Devices(asking)
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		return nil, a.unreachable(p)
	}
	return devices, problem(err)
}

// unreachable says why a peer cannot be reached.
func (a *Agent) unreachable(p state.Peer) error {
	why := a.peers.get(p.ID).Status().Why
	if a.rendezvous != nil && !a.rendezvous.State().Connected {
		why = a.rendezvous.State().Reason
	}
	if why == "" {
		why = "no way to it has answered yet; is its agent running?"
	}
	return &localapi.Problem{Code: localapi.CodeUnreachable, Detail: fmt.Sprintf("%s cannot be reached: %s", p.Name, why)}
}

// Use implements localapi.Backend.
func (a *Agent) Use(ctx context.Context, r localapi.UseRequest, progress func(localapi.Progress)) (localapi.Use, error) {
	p, err := a.find(r.Peer)
	if err != nil {
		return localapi.Use{}, err
	}
	if r.Endpoint && a.cfg.USBIP == "" {
		return localapi.Use{}, &localapi.Problem{Code: localapi.CodeNotSupported, Detail: "this agent has no USB/IP server: start it without an empty --usbip-listen"}
	}
	progress(localapi.Progress{Message: "connecting to " + p.Name})
	device, err := a.deviceOf(ctx, p, r.Device)
	if err != nil {
		return localapi.Use{}, err
	}
	progress(localapi.Progress{Message: "attaching " + device.Name})
	use := state.Use{Peer: p.ID, Device: device.ID, Mode: state.ModeVHCI}
	if r.Endpoint {
		use.Mode = state.ModeEndpoint
	}
	if len(device.Descriptors) > 0 {
		use.Expect = hex.EncodeToString(session.Fingerprint(device.Descriptors))
	}
	if err := a.store.PutUse(use); err != nil {
		return localapi.Use{}, problem(err)
	}
	a.using.Poke()
	attaching, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	key := using.Key{Peer: p.ID, Device: device.ID}
	made, err := a.using.Await(attaching, use)
	if err == nil {
		return a.useOf(made), nil
	}
	if err := a.drop(key); err != nil {
		a.log.Warn("use not removed", "err", err)
	}
	if attaching.Err() != nil && ctx.Err() == nil {
		return localapi.Use{}, a.unreachable(p)
	}
	return localapi.Use{}, problem(err)
}

// deviceOf finds the device that a person means among those that a peer shares.
// What was shared a moment ago may not be in the list yet.
func (a *Agent) deviceOf(ctx context.Context, p state.Peer, selector string) (tunnel.Device, error) {
	patience := time.NewTimer(newsTime)
	defer patience.Stop()
	again := time.NewTicker(newsTime / 20)
	defer again.Stop()
	for {
		devices, err := a.listOf(ctx, p, reachTime)
		if err != nil {
			return tunnel.Device{}, err
		}
		d, err := pick(devices, selector, p.Name)
		if err == nil {
			return d, nil
		}
		select {
		case <-again.C:
		case <-patience.C:
			return tunnel.Device{}, err
		case <-ctx.Done():
			return tunnel.Device{}, ctx.Err()
		}
	}
}

// pick finds the device that a person means in a peer's list.
func pick(devices []tunnel.Device, selector, peer string) (tunnel.Device, error) {
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
		return tunnel.Device{}, &localapi.Problem{Code: localapi.CodeUnknown, Detail: fmt.Sprintf("%s shares no device %q with this machine: see \"easyfind ls\", and share it there with \"easyfind share\"", peer, selector)}
	}
	return tunnel.Device{}, &localapi.Problem{Code: localapi.CodeInvalid, Detail: fmt.Sprintf("%d devices of %s are %s: give the bus id of the one you mean; see \"easyfind ls\"", len(found), peer, selector)}
}

// drop ends a use and waits until the device has been given back.
func (a *Agent) drop(key using.Key) error {
	if err := a.store.RemoveUse(key.Peer, key.Device); err != nil {
		return err
	}
	a.using.Poke()
	ctx, cancel := context.WithTimeout(context.Background(), attachTime)
	defer cancel()
	return a.using.AwaitEnd(ctx, key)
}

// Release implements localapi.Backend.
func (a *Agent) Release(_ context.Context, which string) error {
	peer, device, both := strings.Cut(which, "/")
	var found []using.Key
	for _, u := range a.store.State().Uses {
		byID := both && u.Device == device && strings.EqualFold(a.peers.Name(u.Peer), peer)
		if byID || u.Device == which {
			found = append(found, using.Key{Peer: u.Peer, Device: u.Device})
		}
	}
	switch len(found) {
	case 1:
		return problem(a.drop(found[0]))
	case 0:
		return problem(state.ErrNotUsed)
	}
	return &localapi.Problem{Code: localapi.CodeInvalid, Detail: fmt.Sprintf("%d peers' devices %s are used: name the one you mean as PEER/%s", len(found), which, which)}
}

func (a *Agent) useOf(u using.Use) localapi.Use {
	name := a.peers.Name(u.Peer)
	use := localapi.Use{
		ID: name + "/" + u.Device, Peer: name, Device: u.Device, Name: u.Info.ProductName, Endpoint: u.Mode == state.ModeEndpoint,
		Port: u.Port, BusID: u.BusID, Since: u.Since,
		State: map[using.Phase]localapi.UseState{
			using.Connecting: localapi.UseConnecting, using.Attached: localapi.UseAttached,
			using.Waiting: localapi.UseWaiting, using.Failed: localapi.UseFailed,
		}[u.Phase],
	}
	if use.Endpoint {
		use.Address = a.cfg.USBIP
	}
	if u.Reason != nil {
		use.Reason = u.Reason.Error()
	}
	if r := a.peers.get(u.Peer); r != nil && u.Phase == using.Attached && !r.Session().Status().Linked {
		use.Reason = "the link to " + name + " is lost; the device waits for it"
	}
	return use
}
