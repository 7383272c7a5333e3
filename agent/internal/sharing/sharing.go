// Package sharing is the host's side of the agent: which devices of this machine
// peers may see and take, and who has which one now. It is the session.Host of
// every peer.
package sharing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// releaseTime is how long a device may take to be given back by who had it: its
// URBs are cancelled and it is reset.
const releaseTime = 10 * time.Second

// expiryTime is how often the time of shares is looked at.
const expiryTime = 2 * time.Second

// Peers is what sharing needs to know of the peers.
type Peers interface {
	// Name is what people call the peer.
	Name(ident.PeerID) string
	// Lost reports whether the peer that holds the device cannot be heard, and
	// since when.
	Lost(peer ident.PeerID, device string) (since time.Time, lost bool)
	// Revoke takes a device away from the peer that holds it.
	Revoke(peer ident.PeerID, device, reason string)
}

// Config is what Sharing is made of.
type Config struct {
	Bus    usb.Bus
	Shares func() []state.Share
	Peers  Peers
	Logger *slog.Logger
	// Changed is called when what peers may see has changed. It must not block.
	Changed func()
}

// Sharing shares the devices of a bus.
type Sharing struct {
	cfg Config

	mu      sync.Mutex
	devices []usb.Info // as of the last change
	problem error      // why the list may be incomplete
	held    map[string]*holding
}

// holding is a device that a peer has.
type holding struct {
	peer     ident.PeerID
	since    time.Time
	released chan struct{} // closed when it is free again
}

// New makes a Sharing.
func New(cfg Config) (*Sharing, error) {
	if cfg.Bus == nil || cfg.Shares == nil || cfg.Peers == nil || cfg.Logger == nil || cfg.Changed == nil {
		return nil, errors.New("sharing: bus, shares, peers, logger and changed are needed")
	}
	return &Sharing{cfg: cfg, held: map[string]*holding{}}, nil
}

// Run follows what is plugged in and out, and ends shares whose time is over,
// until ctx ends.
func (s *Sharing) Run(ctx context.Context) error {
	var joined sync.WaitGroup
	defer joined.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	joined.Go(func() {
		tick := time.NewTicker(expiryTime)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.Enforce()
			case <-ctx.Done():
				return
			}
		}
	})
	return s.cfg.Bus.Watch(ctx, func() {
		s.refresh()
		s.cfg.Changed()
	})
}

// refresh lists the devices anew.
func (s *Sharing) refresh() {
	devices, err := s.cfg.Bus.Devices()
	if err != nil {
		s.cfg.Logger.Warn("USB devices cannot be listed", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices, s.problem = devices, err
}

// Device is a device of this machine and who has it.
type Device struct {
	usb.Info
	Holder ident.PeerID // zero: nobody
	Since  time.Time    // it is held
}

// Devices lists all devices of this machine, as they are now.
func (s *Sharing) Devices() ([]Device, error) {
	s.refresh()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Device, 0, len(s.devices))
	for _, i := range s.devices {
		d := Device{Info: i}
		if h := s.held[i.ID]; h != nil {
			d.Holder, d.Since = h.peer, h.since
		}
		list = append(list, d)
	}
	return list, s.problem
}

// Find returns the devices that a selector means: a bus id, vid:pid in
// hexadecimal, or a serial number.
func (s *Sharing) Find(selector string) ([]Device, error) {
	all, err := s.Devices()
	var found []Device
	for _, d := range all {
		if Selects(selector, d.Info) {
			found = append(found, d)
		}
	}
	return found, err
}

// Selects reports whether a selector means the device.
func Selects(selector string, i usb.Info) bool {
	return selector == i.ID || strings.EqualFold(selector, fmt.Sprintf("%04x:%04x", i.Vendor, i.Product)) ||
		i.Serial != "" && selector == i.Serial
}

// Enforce takes devices away from peers that may no longer have them.
func (s *Sharing) Enforce() {
	type taken struct {
		peer   ident.PeerID
		device string
	}
	var revoke []taken
	s.mu.Lock()
	for id, h := range s.held {
		for _, i := range s.devices {
			if i.ID == id {
				if _, ok := s.grant(h.peer, i); !ok {
					revoke = append(revoke, taken{h.peer, id})
				}
			}
		}
	}
	s.mu.Unlock()
	for _, r := range revoke {
		s.cfg.Peers.Revoke(r.peer, r.device, "the owner no longer shares it")
	}
}

// grant finds a share that lets the peer have the device.
func (s *Sharing) grant(peer ident.PeerID, i usb.Info) (state.Share, bool) {
	now := time.Now()
	for _, share := range s.cfg.Shares() {
		if Selects(share.Device, i) && share.Allows(peer, now) {
			return share, true
		}
	}
	return state.Share{}, false
}

// For is what one peer may do.
func (s *Sharing) For(peer ident.PeerID) session.Host { return &host{s, peer} }

// host is one peer's view.
type host struct {
	s    *Sharing
	peer ident.PeerID
}

// Devices lists what the peer may use.
func (h *host) Devices() []tunnel.Device {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []tunnel.Device
	for _, i := range s.devices {
		share, ok := s.grant(h.peer, i)
		if !ok {
			continue
		}
		d := session.Describe(i)
		switch held := s.held[i.ID]; {
		case held != nil:
			d.InUseBy = s.cfg.Peers.Name(held.peer)
		case share.Force:
			d.InUseBy = ""
		}
		list = append(list, d)
	}
	return list
}

// Open opens a device for the peer.
func (h *host) Open(ctx context.Context, a tunnel.Attach) (usb.Device, error) {
	s := h.s
	s.refresh()
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
	dev, err := s.cfg.Bus.Open(info.ID, usb.OpenOptions{Force: share.Force})
	if err != nil {
		s.free(info.ID, held)
		return nil, err
	}
	s.cfg.Logger.Info("device taken", "device", info.ID, "name", info.Name(), "by", s.cfg.Peers.Name(h.peer))
	s.cfg.Changed()
	return &lent{Device: dev, free: sync.OnceFunc(func() {
		s.free(info.ID, held)
		s.cfg.Logger.Info("device given back", "device", info.ID, "by", s.cfg.Peers.Name(h.peer))
		s.cfg.Changed()
	})}, nil
}

// find finds a device that the peer may have. One that it may not have does not
// exist for it.
func (h *host) find(id string) (usb.Info, state.Share, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for _, i := range h.s.devices {
		if !Selects(id, i) {
			continue
		}
		if share, ok := h.s.grant(h.peer, i); ok {
			return i, share, nil
		}
	}
	return usb.Info{}, state.Share{}, fmt.Errorf("%w is shared with you as %q: see \"easyfind ls\"", usb.ErrNotFound, id)
}

// hold makes the peer the holder of a device. A holder that cannot be heard any
// more gives way; one that is the peer itself, from before it lost its state, is
// about to.
func (h *host) hold(ctx context.Context, id string) (*holding, error) {
	s := h.s
	deadline := time.NewTimer(releaseTime)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		old := s.held[id]
		if old == nil {
			held := &holding{peer: h.peer, since: time.Now(), released: make(chan struct{})}
			s.held[id] = held
			s.mu.Unlock()
			return held, nil
		}
		s.mu.Unlock()
		if old.peer != h.peer {
			since, lost := s.cfg.Peers.Lost(old.peer, id)
			if !lost {
				return nil, fmt.Errorf("%w by %s", usb.ErrInUse, s.cfg.Peers.Name(old.peer))
			}
			s.cfg.Peers.Revoke(old.peer, id, fmt.Sprintf("%s took it while this machine could not be reached, since %s", s.cfg.Peers.Name(h.peer), since.Format(time.TimeOnly)))
		}
		select {
		case <-old.released:
		case <-deadline.C:
			return nil, fmt.Errorf("%w by %s", usb.ErrInUse, s.cfg.Peers.Name(old.peer))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Sharing) free(id string, held *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, id)
	close(held.released)
}

// lent is a device that knows when it has been given back.
type lent struct {
	usb.Device
	free func()
}

// Close gives the device back to this machine, and then to others.
func (l *lent) Close() error {
	err := l.Device.Close()
	l.free()
	return err
}
