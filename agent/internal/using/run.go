package using

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// How long a use that was refused or lost waits before it tries again.
const (
	againFirst = time.Second
	againMost  = 15 * time.Second
)

// busNumber is the bus on which far devices appear to be, for USB/IP's numbers.
const busNumber = 1

// run is one use, from being wanted to being released:
//
//	             attached                  gone, lost beyond the budget
//	connecting ───────────► attached ───────────────────────────────► waiting
//	   │  ▲                    ▲                                      │  │
//	   │  └────────────────────┴───────────── after a while ──────────┘  │
//	   └──────────── this machine cannot have it ──► failed ◄────────────┘
type run struct {
	u      *Using
	wanted state.Use
	slot   int
	cancel context.CancelFunc
	ended  chan struct{}
	news   chan struct{} // its host shares other devices than before

	// Guarded by Using.mu.
	use     Use
	offered usb.Device // on the loopback server
	lent    bool       // to a client of it
}

func (r *run) loop(ctx context.Context) {
	again := againFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := r.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > againMost {
			again = againFirst
		}
		if final(err) {
			r.set(func(use *Use) { use.Phase, use.Reason = Failed, err })
			<-ctx.Done()
			return
		}
		r.set(func(use *Use) { use.Phase, use.Reason = Waiting, err })
		r.u.cfg.Logger.Info("device not attached", "device", r.use.Device, "peer", r.use.Peer.Short(), "err", err, "again in", again)
		if r.wait(ctx, again, began.Add(againFirst)) {
			again = againFirst
		} else {
			again = min(2*again, againMost)
		}
	}
}

// wait waits before the next try: until there is news of the host, but not before
// earliest, or else for a while. It reports whether there was news.
func (r *run) wait(ctx context.Context, while time.Duration, earliest time.Time) bool {
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-r.news:
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
	timer.Reset(time.Until(earliest))
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// final reports whether trying again makes no sense.
func final(err error) bool {
	for _, reason := range []error{usbip.ErrNoVHCI, errDetachedHere, session.ErrChanged} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// errDetachedHere ends a use whose device was taken out of the kernel's port by
// somebody else than the agent.
var errDetachedHere = errors.New("the device was detached on this machine by another program: release it and use it again to have it back")

// once attaches the device and keeps it until it is lost.
func (r *run) once(ctx context.Context) error {
	if r.use.Mode == state.ModeVHCI {
		if err := r.u.cfg.Kernel.Find(); err != nil {
			return err
		}
	}
	s, release, err := r.u.cfg.Want(r.use.Peer)
	if err != nil {
		return err
	}
	defer release()
	expect, err := hex.DecodeString(r.wanted.Expect)
	if err != nil {
		return fmt.Errorf("what is expected of the device: %w", err)
	}
	dev, err := s.Attach(ctx, tunnel.Attach{Device: r.use.Device, Expect: expect})
	if err != nil {
		return err
	}
	defer dev.Close()
	dev = r.number(dev)
	defer r.set(func(use *Use) { use.Port, use.BusID = -1, "" })
	if r.use.Mode == state.ModeVHCI {
		return r.plug(ctx, dev)
	}
	return r.offer(ctx, dev)
}

// plug gives the device to this kernel.
func (r *run) plug(ctx context.Context, dev usb.Device) error {
	plugged, err := r.u.cfg.Kernel.Plug(dev)
	if err != nil {
		return err
	}
	defer plugged.Unplug()
	r.attached(dev, plugged.Port)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-dev.Gone():
		return gone(dev)
	case <-plugged.Done():
	}
	select {
	case <-dev.Gone():
		return gone(dev)
	default:
	}
	if err := plugged.Err(); err != nil {
		return fmt.Errorf("this kernel's USB/IP driver: %w", err)
	}
	return errDetachedHere
}

// errGone is why a use waits whose session does not say.
var errGone = errors.New("the device is no longer there: it was unplugged, taken back, or its host could not be reached for too long")

// gone is why a use waits that had its device.
func gone(dev usb.Device) error {
	if d, ok := dev.(interface{ Why() error }); ok && d.Why() != nil {
		return d.Why()
	}
	return errGone
}

// offer lends the device to clients of the loopback server.
func (r *run) offer(ctx context.Context, dev usb.Device) error {
	r.u.mu.Lock()
	r.offered = dev
	r.u.mu.Unlock()
	r.attached(dev, -1)
	defer func() {
		r.u.mu.Lock()
		r.offered = nil
		r.u.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-dev.Gone():
		return gone(dev)
	}
}

func (r *run) attached(dev usb.Device, port int) {
	r.set(func(use *Use) {
		use.Phase, use.Reason, use.Info, use.Port = Attached, nil, dev.Info(), port
		if use.Mode == state.ModeEndpoint {
			use.BusID = dev.Info().ID
		}
	})
	r.u.cfg.Logger.Info("device attached", "device", r.use.Device, "peer", r.use.Peer.Short(), "port", port)
}

func (r *run) set(change func(*Use)) {
	r.u.mu.Lock()
	defer r.u.mu.Unlock()
	phase := r.use.Phase
	change(&r.use)
	if r.use.Phase != phase {
		r.use.Since = time.Now()
	}
	r.u.announce()
}

// number gives the device the bus id and numbers that USB/IP wants.
func (r *run) number(dev usb.Device) usb.Device {
	info := dev.Info()
	info.ID = fmt.Sprintf("%d-%d", busNumber, r.slot)
	info.BusNumber, info.DeviceNumber = busNumber, uint32(r.slot)
	return numbered{dev, info}
}

// numbered is a device under other numbers.
type numbered struct {
	usb.Device
	info usb.Info
}

func (n numbered) Info() usb.Info { return n.info }

func (n numbered) Why() error { return gone(n.Device) }
