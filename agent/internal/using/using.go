// Package using is the client's side of the agent: far devices that this machine
// wants to have. Each is attached to the session with its host, and given to
// this kernel or offered to USB/IP clients on loopback; when it is lost it is
// attached again as soon as its host and the device are back.
package using

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// Session is what using needs of the session with a peer.
type Session interface {
	Attach(ctx context.Context, a tunnel.Attach) (usb.Device, error)
}

// Kernel is what using needs of a usbip.VHCI.
type Kernel interface {
	// Find is asked before each use: the controller may have come since.
	Find() error
	Plug(dev usb.Device) (*usbip.Attachment, error)
}

// Config is what Using is made of.
type Config struct {
	Uses func() []state.Use // what is wanted; see Poke
	// Want gives the session with a peer and keeps it linked until release.
	Want   func(ident.PeerID) (s Session, release func(), err error)
	Kernel Kernel
	Logger *slog.Logger
	// Changed is called when List may have changed. It must not block.
	Changed func()
}

// Using attaches what is wanted. It is the usbip.Exporter of the loopback server.
type Using struct {
	cfg  Config
	poke chan struct{}

	mu      sync.Mutex
	runs    map[Key]*run
	changed chan struct{} // closed and replaced at each change
}

// Key names a use.
type Key struct {
	Peer   ident.PeerID
	Device string
}

// Phase is where a use is in its life.
type Phase string

// The phases.
const (
	Connecting Phase = "connecting" // for the first time
	Attached   Phase = "attached"
	Waiting    Phase = "waiting" // for the host, or the device, to be back
	Failed     Phase = "failed"  // and not tried again
)

// Use is a use and how it is.
type Use struct {
	Key
	Mode   state.Mode
	Phase  Phase
	Reason error // of Waiting and Failed
	Since  time.Time
	Info   usb.Info // of the device, once it has been attached
	Port   int      // of vhci_hcd, -1 if none
	BusID  string   // Mode endpoint: on the loopback server
}

// New makes a Using.
func New(cfg Config) (*Using, error) {
	if cfg.Uses == nil || cfg.Want == nil || cfg.Kernel == nil || cfg.Logger == nil || cfg.Changed == nil {
		return nil, errors.New("using: uses, want, kernel, logger and changed are needed")
	}
	return &Using{cfg: cfg, poke: make(chan struct{}, 1), runs: map[Key]*run{}, changed: make(chan struct{})}, nil
}

// Poke says that Config.Uses has changed.
func (u *Using) Poke() {
	select {
	case u.poke <- struct{}{}:
	default:
	}
}

// News says that a peer shares other devices than before: what waits for one of
// them is tried at once.
func (u *Using) News(peer ident.PeerID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, r := range u.runs {
		if key.Peer != peer {
			continue
		}
		select {
		case r.news <- struct{}{}:
		default:
		}
	}
}

// Run keeps the devices attached that Config.Uses lists, until ctx ends; then it
// detaches them all.
func (u *Using) Run(ctx context.Context) error {
	var joined sync.WaitGroup
	defer joined.Wait()
	for {
		u.reconcile(ctx, &joined)
		select {
		case <-u.poke:
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile ends runs that are no longer wanted and begins new ones.
func (u *Using) reconcile(ctx context.Context, joined *sync.WaitGroup) {
	uses := u.cfg.Uses()
	wanted := map[Key]state.Use{}
	for _, use := range uses {
		wanted[Key{use.Peer, use.Device}] = use
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, r := range u.runs {
		if w, ok := wanted[key]; !ok || w != r.wanted {
			r.cancel()
		} else {
			delete(wanted, key)
		}
	}
	for _, use := range uses { // in their order, by which they are numbered
		key := Key{use.Peer, use.Device}
		if _, ok := wanted[key]; !ok || u.runs[key] != nil {
			continue // it runs, or the old one is ending, and pokes when it has
		}
		r := &run{u: u, wanted: wanted[key], slot: u.freeSlot(), ended: make(chan struct{}), news: make(chan struct{}, 1)}
		r.use = Use{Key: key, Mode: r.wanted.Mode, Phase: Connecting, Since: time.Now(), Port: -1}
		var runCtx context.Context
		runCtx, r.cancel = context.WithCancel(ctx)
		u.runs[key] = r
		joined.Go(func() {
			r.loop(runCtx)
			r.cancel()
			u.mu.Lock()
			delete(u.runs, key)
			u.announce()
			u.mu.Unlock()
			close(r.ended)
			u.Poke()
		})
	}
}

// freeSlot is the lowest number that no run has. Mu is held.
func (u *Using) freeSlot() int {
	for slot := 1; ; slot++ {
		if !slices.ContainsFunc(u.all(), func(r *run) bool { return r.slot == slot }) {
			return slot
		}
	}
}

func (u *Using) all() []*run {
	var runs []*run
	for _, r := range u.runs {
		runs = append(runs, r)
	}
	return runs
}

// announce tells everybody who waits that something has changed. Mu is held.
func (u *Using) announce() {
	close(u.changed)
	u.changed = make(chan struct{})
	u.cfg.Changed()
}

// List returns all uses, by peer and device.
func (u *Using) List() []Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []Use
	for _, r := range u.runs {
		list = append(list, r.use)
	}
	slices.SortFunc(list, func(a, b Use) int {
		return cmp.Or(a.Peer.Compare(b.Peer), cmp.Compare(a.Device, b.Device))
	})
	return list
}

// ErrReleased is the error of waiting for a use that is no longer wanted.
var ErrReleased = errors.New("the device has been released")

// Await waits until a device that Config.Uses lists is attached, or refused for a
// reason that will not pass by itself: it is in use, not shared, or this machine
// cannot have it. Poke must have been called.
func (u *Using) Await(ctx context.Context, wanted state.Use) (Use, error) {
	began := false
	for {
		u.mu.Lock()
		r, changed := u.runs[Key{wanted.Peer, wanted.Device}], u.changed
		var use Use
		if r != nil && r.wanted == wanted {
			use = r.use
		} else {
			r = nil // or of an earlier wish, which is ending
		}
		u.mu.Unlock()
		switch {
		case r == nil && began:
			return Use{}, ErrReleased
		case r != nil && use.Phase == Attached:
			return use, nil
		case r != nil && use.Phase != Connecting && use.Reason != nil:
			return use, use.Reason
		}
		began = began || r != nil
		select {
		case <-changed:
		case <-ctx.Done():
			return use, ctx.Err()
		}
	}
}

// AwaitEnd waits until a device that is no longer wanted has been given back.
func (u *Using) AwaitEnd(ctx context.Context, key Key) error {
	u.mu.Lock()
	r := u.runs[key]
	u.mu.Unlock()
	if r == nil {
		return nil
	}
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Exports lists what the loopback server offers.
func (u *Using) Exports() []usb.Info {
	u.mu.Lock()
	defer u.mu.Unlock()
	var infos []usb.Info
	for _, r := range u.runs {
		if r.offered != nil {
			infos = append(infos, r.offered.Info())
		}
	}
	slices.SortFunc(infos, func(a, b usb.Info) int { return cmp.Compare(a.DeviceNumber, b.DeviceNumber) })
	return infos
}

// Import lends an offered device to one client of the loopback server.
func (u *Using) Import(busID string) (usb.Device, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range u.runs {
		if r.offered == nil || r.offered.Info().ID != busID {
			continue
		}
		if r.lent {
			return nil, fmt.Errorf("%w by another USB/IP client", usb.ErrInUse)
		}
		r.lent = true
		return &loan{Device: r.offered, end: sync.OnceFunc(func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			r.lent = false
		})}, nil
	}
	return nil, usb.ErrNotFound
}

// loan is a device that stays attached when its borrower is done with it.
type loan struct {
	usb.Device
	end func()
}

func (l *loan) Close() error {
	l.end()
	return nil
}
