// Package sharing is the host's side of the agent. It decides which devices of this
// machine a peer may see and open, and knows which peer holds which device.
package sharing

import (
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
)

const (
	// releaseTimeout bounds the time in which a revoked device is given back: its
	// URBs are cancelled and the device is reset.
	releaseTimeout = 10 * time.Second
	// expiryInterval is the longest time between two checks for ended shares, while
	// a share has an end. A timer alone would miss it when the clock is set or the
	// machine sleeps.
	expiryInterval = 2 * time.Second
)

// Holders gives access to the peers that hold devices.
type Holders interface {
	// Lost reports whether the holder of a device cannot be reached, and since when.
	Lost(holder ident.PeerID, device string) (since time.Time, lost bool)
	// Revoke takes a device away from its holder. The reason is for a person there.
	Revoke(holder ident.PeerID, device, reason string)
}

// Config holds the settings of a [Manager]. Every field is required.
type Config struct {
	Bus     usb.Bus
	Store   *state.Store // of the shares
	Holders Holders
	Logger  *slog.Logger
	// Changed is called when the devices that a peer may use, or their holders, have
	// changed. It must not block.
	Changed func()
}

// Manager shares the devices of a bus.
type Manager struct {
	cfg Config

	mu      sync.Mutex // guards the fields below
	devices []usb.Info // as of the last refresh
	listErr error      // of the last refresh: the list may be incomplete
	holders map[string]*holder
}

// holder is the peer that holds a device.
type holder struct {
	peer     ident.PeerID
	since    time.Time
	released chan struct{} // closed when the peer has given the device back
}

// New creates a manager. Run starts it.
func New(cfg Config) (*Manager, error) {
	if cfg.Bus == nil || cfg.Store == nil || cfg.Holders == nil || cfg.Logger == nil || cfg.Changed == nil {
		return nil, errors.New("sharing: a required field of the configuration is missing")
	}
	return &Manager{cfg: cfg, holders: map[string]*holder{}}, nil
}

// Run follows the bus and the shares until ctx ends or the bus fails.
func (m *Manager) Run(ctx context.Context) error {
	var joined sync.WaitGroup
	defer joined.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	joined.Go(func() { m.followShares(ctx) })
	return m.cfg.Bus.Watch(ctx, func() {
		m.refresh()
		m.cfg.Changed()
	})
}

// followShares revokes devices whose share was removed or has ended.
func (m *Manager) followShares(ctx context.Context) {
	changed, stop := m.cfg.Store.Watch(state.PartShares | state.PartPeers) // lists contain names of peers
	defer stop()
	ended, next := m.expiry(time.Now())
	timer := time.NewTimer(next)
	defer timer.Stop()
	for {
		select {
		case <-changed:
			m.enforce()
			m.cfg.Changed()
			ended, next = m.expiry(time.Now())
		case <-timer.C:
			before := ended
			if ended, next = m.expiry(time.Now()); ended != before {
				m.enforce()
				m.cfg.Changed()
			}
		case <-ctx.Done():
			return
		}
		timer.Reset(next)
	}
}

// expiry returns the number of shares that have ended, and the time until the next
// check.
func (m *Manager) expiry(now time.Time) (ended int, next time.Duration) {
	next = time.Hour
	for _, s := range m.cfg.Store.State().Shares {
		switch {
		case s.Until.IsZero():
		case s.Until.After(now):
			next = min(next, expiryInterval, s.Until.Sub(now))
		default:
			ended++
		}
	}
	return ended, next
}

// refresh lists the devices of the bus again.
func (m *Manager) refresh() {
	devices, err := m.cfg.Bus.Devices()
	if err != nil {
		m.cfg.Logger.Warn("cannot list the USB devices", "err", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices, m.listErr = devices, err
}

// Device is a device of this machine and its holder.
type Device struct {
	usb.Info
	Holder ident.PeerID // zero: no peer holds it
	Since  time.Time    // when the holder opened it
}

// Devices returns all devices of this machine. With an error, the list may be
// incomplete.
func (m *Manager) Devices() ([]Device, error) {
	m.refresh()
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Device, 0, len(m.devices))
	for _, i := range m.devices {
		d := Device{Info: i}
		if h := m.holders[i.ID]; h != nil {
			d.Holder, d.Since = h.peer, h.since
		}
		list = append(list, d)
	}
	return list, m.listErr
}

// Find returns the devices that a selector selects; see [Selects].
func (m *Manager) Find(selector string) ([]Device, error) {
	all, err := m.Devices()
	var found []Device
	for _, d := range all {
		if Selects(selector, d.Info) {
			found = append(found, d)
		}
	}
	return found, err
}

// Selects reports whether a selector selects the device. A selector is a bus id,
// vid:pid in hexadecimal, or a serial number.
func Selects(selector string, i usb.Info) bool {
	return selector == i.ID || strings.EqualFold(selector, fmt.Sprintf("%04x:%04x", i.Vendor, i.Product)) ||
		i.Serial != "" && selector == i.Serial
}

// enforce revokes the devices that their holders may no longer use.
func (m *Manager) enforce() {
	type revocation struct {
		holder ident.PeerID
		device string
	}
	var all []revocation
	m.mu.Lock()
	for _, i := range m.devices {
		if h := m.holders[i.ID]; h != nil {
			if _, ok := m.shareFor(h.peer, i); !ok {
				all = append(all, revocation{h.peer, i.ID})
			}
		}
	}
	m.mu.Unlock()
	for _, r := range all {
		m.cfg.Holders.Revoke(r.holder, r.device, "the owner no longer shares it")
	}
}

// shareFor returns a share that lets the peer use the device.
func (m *Manager) shareFor(peer ident.PeerID, i usb.Info) (state.Share, bool) {
	now := time.Now()
	for _, share := range m.cfg.Store.State().Shares {
		if Selects(share.Device, i) && share.Allows(peer, now) {
			return share, true
		}
	}
	return state.Share{}, false
}

// For returns the devices of this machine as one peer may use them.
func (m *Manager) For(peer ident.PeerID) session.Host { return &host{m, peer} }

// release ends the hold of a device.
func (m *Manager) release(id string, h *holder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.holders, id)
	close(h.released)
}
