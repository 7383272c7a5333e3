// Package using is the client's side of the agent. It keeps the remote devices
// attached that this machine uses: either attached to this kernel, or exported to
// USB/IP clients on loopback. It attaches a lost device again as soon as its host
// and the device are back.
package using

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Session attaches devices of one peer; see session.Session.
type Session interface {
	Attach(ctx context.Context, a tunnel.Attach) (usb.Device, error)
}

// Kernel attaches devices to this kernel; see usbip.VHCI.
type Kernel interface {
	// Find looks for the controller. It is called before each attachment, because
	// the kernel module may have been loaded since.
	Find() error
	Plug(dev usb.Device) (*usbip.Attachment, error)
}

// Config holds the settings of a [Manager]. Every field is required.
type Config struct {
	Store *state.Store // of the uses
	// Want returns the session with a peer, and keeps it linked until release is
	// called.
	Want   func(ident.PeerID) (s Session, release func(), err error)
	Kernel Kernel
	Logger *slog.Logger
	// NotAccelerated lists kinds of devices that get no stages; see stage.Config. May
	// be empty.
	NotAccelerated []string
	// WriteCached lists kinds of disks that get a write cache; see stage.Config. May be
	// empty.
	WriteCached []string
}

// Manager keeps the used devices attached. It implements usbip.Exporter for the
// loopback server.
type Manager struct {
	cfg  Config
	wake chan struct{} // holds one: a use has ended, and another may wait for that

	mu      sync.Mutex // guards the fields below, and those fields of attachment
	all     map[Key]*attachment
	changed chan struct{} // closed and replaced at each change
}

// Key identifies a use.
type Key struct {
	Peer   ident.PeerID
	Device string
}

// Phase is the state of a use.
type Phase string

// The phases.
const (
	Connecting Phase = "connecting" // before the first attachment
	Attached   Phase = "attached"
	Waiting    Phase = "waiting" // the host or the device is not there
	Failed     Phase = "failed"  // not tried again
)

// Use is a use and its current state.
type Use struct {
	Key
	Mode   state.Mode
	Limit  uint64 // of each direction, in bits per second; 0: none
	Phase  Phase
	Reason error // for Waiting and Failed
	Since  time.Time
	Info   usb.Info // of the device, after the first attachment
	Port   int      // of vhci_hcd; -1: none
	BusID  string   // on the loopback server; empty: not exported
	Stages []stage.Stats
}

// New creates a manager. Run starts it.
func New(cfg Config) (*Manager, error) {
	if cfg.Store == nil || cfg.Want == nil || cfg.Kernel == nil || cfg.Logger == nil {
		return nil, errors.New("using: a required field of the configuration is missing")
	}
	return &Manager{
		cfg: cfg, wake: make(chan struct{}, 1), all: map[Key]*attachment{}, changed: make(chan struct{}),
	}, nil
}

// PeerDevicesChanged tries at once to attach the devices of a peer that wait. It is
// called when the peer has sent its list of devices.
func (m *Manager) PeerDevicesChanged(peer ident.PeerID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, a := range m.all {
		if key.Peer != peer {
			continue
		}
		select {
		case a.retryNow <- struct{}{}:
		default: // it is about to
		}
	}
}

// Run keeps the devices attached that the store lists. When ctx ends, it detaches
// all of them.
func (m *Manager) Run(ctx context.Context) error {
	changed, stop := m.cfg.Store.Watch(state.PartUses)
	defer stop()
	var joined sync.WaitGroup
	defer joined.Wait()
	for {
		m.reconcile(ctx, &joined)
		select {
		case <-changed:
		case <-m.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile ends the uses that the store no longer lists, and starts new ones.
func (m *Manager) reconcile(ctx context.Context, joined *sync.WaitGroup) {
	uses := m.cfg.Store.State().Uses
	missing := map[Key]state.Use{}
	for _, use := range uses {
		missing[Key{use.Peer, use.Device}] = use
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, a := range m.all {
		if use, ok := missing[key]; ok && use == a.stored {
			delete(missing, key)
		} else {
			a.cancel()
		}
	}
	for _, use := range uses { // in the order of the store, so that the numbers are the same after a restart
		key := Key{use.Peer, use.Device}
		if _, ok := missing[key]; !ok || m.all[key] != nil {
			continue // it runs, or its predecessor is ending and wakes Run when it has
		}
		m.start(ctx, key, use, joined)
	}
}

// start starts a use. mu must be held.
func (m *Manager) start(ctx context.Context, key Key, stored state.Use, joined *sync.WaitGroup) {
	a := &attachment{
		m: m, stored: stored, number: m.freeNumber(), ended: make(chan struct{}), retryNow: make(chan struct{}, 1),
		use: Use{Key: key, Mode: stored.Mode, Limit: stored.Limit, Phase: Connecting, Since: time.Now(), Port: -1},
	}
	ctx, a.cancel = context.WithCancel(ctx)
	m.all[key] = a
	joined.Go(func() {
		a.run(ctx)
		a.cancel()
		m.mu.Lock()
		delete(m.all, key)
		m.announce()
		m.mu.Unlock()
		close(a.ended)
		select {
		case m.wake <- struct{}{}:
		default:
		}
	})
}

// freeNumber returns the lowest number that no attachment has. mu must be held.
func (m *Manager) freeNumber() int {
	taken := map[int]bool{}
	for _, a := range m.all {
		taken[a.number] = true
	}
	number := 1
	for taken[number] {
		number++
	}
	return number
}

// announce wakes everything that waits for a change. mu must be held.
func (m *Manager) announce() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// List returns all uses, sorted by peer and device.
func (m *Manager) List() []Use {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Use
	for _, a := range m.all {
		list = append(list, a.snapshot())
	}
	slices.SortFunc(list, func(a, b Use) int {
		return cmp.Or(a.Peer.Compare(b.Peer), cmp.Compare(a.Device, b.Device))
	})
	return list
}

// ErrReleased is the error of AwaitAttached for a use that has been removed.
var ErrReleased = errors.New("the device has been released")

// AwaitAttached waits until the device of a use that the store lists is attached. It
// returns the reason if the device is refused: the device is in use or not shared,
// or this machine cannot attach it.
func (m *Manager) AwaitAttached(ctx context.Context, stored state.Use) (Use, error) {
	started := false
	for {
		m.mu.Lock()
		a, changed := m.all[Key{stored.Peer, stored.Device}], m.changed
		var use Use
		if a != nil && a.stored == stored {
			use = a.snapshot()
		} else {
			a = nil // an older use of the same device is ending
		}
		m.mu.Unlock()
		switch {
		case a == nil && started:
			return Use{}, ErrReleased
		case a != nil && use.Phase == Attached:
			return use, nil
		case a != nil && use.Phase != Connecting && use.Reason != nil:
			return use, use.Reason
		}
		started = started || a != nil
		select {
		case <-changed:
		case <-ctx.Done():
			return use, ctx.Err()
		}
	}
}

// Released returns a function that waits until the device of a use has been given back. It
// must be called before the use is removed from the store: a use that is not attached ends
// at once. The function's error wraps stage.ErrLost if a disk does not have what was written
// to it.
func (m *Manager) Released(key Key) func(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.all[key]
	if a == nil {
		return func(context.Context) error { return nil }
	}
	return func(ctx context.Context) error {
		select {
		case <-a.ended:
			m.mu.Lock()
			defer m.mu.Unlock()
			return a.lost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
