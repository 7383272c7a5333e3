package sharing

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/isochronous"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// host is the session.Host for one peer.
type host struct {
	m    *Manager
	peer ident.PeerID
}

// Devices returns the devices that the peer may use.
func (h *host) Devices() []tunnel.Device {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []tunnel.Device
	for _, i := range m.devices {
		share, ok := m.shareFor(h.peer, i)
		if !ok {
			continue
		}
		d := session.Describe(i)
		switch holder := m.holders[i.ID]; {
		case holder != nil:
			d.InUseBy = m.cfg.Store.PeerName(holder.peer)
		case share.Force:
			d.InUseBy = "" // the peer may take it from this machine
		}
		list = append(list, d)
	}
	return list
}

// Open opens a device for the peer.
func (h *host) Open(ctx context.Context, a tunnel.Attach) (usb.Device, error) {
	m := h.m
	m.refresh()
	info, share, err := h.find(a.Device)
	if err != nil {
		return nil, err
	}
	if len(a.Expect) > 0 && !bytes.Equal(a.Expect, session.Fingerprint(info.Descriptors)) {
		return nil, session.ErrChanged
	}
	held, err := h.hold(ctx, info.ID)
	if err != nil {
		return nil, err
	}
	dev, err := m.cfg.Bus.Open(info.ID, usb.OpenOptions{Force: share.Force})
	if err != nil {
		m.release(info.ID, held)
		return nil, err
	}
	log := m.cfg.Logger.With("device", info.ID, "name", info.Name(), "peer", h.peer.Short())
	log.Info("peer opened a device")
	m.cfg.Changed()
	opened := &heldDevice{Device: dev, release: sync.OnceFunc(func() {
		m.release(info.ID, held)
		log.Info("peer gave a device back")
		m.cfg.Changed()
	})}
	return withStages(opened, a), nil
}

// withStages returns a device with the host's halves of the stages that the client may use.
func withStages(dev usb.Device, a tunnel.Attach) usb.Device {
	info := dev.Info()
	if a.Ahead && guard.Fits(info) {
		dev = guard.New(dev)
	}
	if a.Isochronous && isochronous.Fits(info) {
		dev = isochronous.NewHost(dev)
	}
	return dev
}

// find returns the device that the peer asks for. A device that the peer may not use
// does not exist for it.
func (h *host) find(selector string) (usb.Info, state.Share, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	for _, i := range h.m.devices {
		if !Selects(selector, i) {
			continue
		}
		if share, ok := h.m.shareFor(h.peer, i); ok {
			return i, share, nil
		}
	}
	err := fmt.Errorf("%w is shared with you as %q: see \"easyfind ls\"", usb.ErrNotFound, selector)
	return usb.Info{}, state.Share{}, err
}

// hold makes the peer the holder of a device. A holder that cannot be reached loses
// the device. If the holder is the peer itself, hold waits: the peer's agent has
// restarted, and its old attachment is about to end.
func (h *host) hold(ctx context.Context, id string) (*holder, error) {
	m := h.m
	timeout := time.NewTimer(releaseTimeout)
	defer timeout.Stop()
	for {
		m.mu.Lock()
		old := m.holders[id]
		if old == nil {
			made := &holder{peer: h.peer, since: time.Now(), released: make(chan struct{})}
			m.holders[id] = made
			m.mu.Unlock()
			return made, nil
		}
		m.mu.Unlock()
		inUse := fmt.Errorf("%w by %s", usb.ErrInUse, m.cfg.Store.PeerName(old.peer))
		if old.peer != h.peer {
			since, lost := m.cfg.Holders.Lost(old.peer, id)
			if !lost {
				return nil, inUse
			}
			reason := fmt.Sprintf("%s took it while this machine could not be reached, since %s",
				m.cfg.Store.PeerName(h.peer), since.Format(time.TimeOnly))
			m.cfg.Holders.Revoke(old.peer, id, reason)
		}
		select {
		case <-old.released:
		case <-timeout.C:
			return nil, inUse
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// heldDevice is a device that a peer holds until Close.
type heldDevice struct {
	usb.Device
	release func()
}

// Close first closes the device, so that this machine can use it, and then lets
// other peers open it.
func (d *heldDevice) Close() error {
	err := d.Device.Close()
	d.release()
	return err
}
