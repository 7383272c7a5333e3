package using

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// The interval from a refused or lost attachment to the next try. It doubles each
// time.
const (
	retryFirstInterval = time.Second
	retryMaxInterval   = 15 * time.Second
)

// busNumber is the USB/IP bus number of every remote device.
const busNumber = 1

// attachment keeps the device of one use attached until the use is released:
//
//	             attached               unplugged, revoked, or host lost
//	Connecting ───────────► Attached ───────────────────────────────► Waiting
//	   │  ▲                    ▲                                      │  │
//	   │  └────────────────────┴──────────────── retry ───────────────┘  │
//	   └─────────── this machine cannot attach it ──► Failed ◄───────────┘
type attachment struct {
	// Static after construction.
	m        *Manager
	stored   state.Use
	number   int // gives the device its USB/IP numbers
	cancel   context.CancelFunc
	ended    chan struct{} // closed when the device has been given back
	retryNow chan struct{} // holds one: the peer's list of devices has changed

	// Guarded by Manager.mu.
	use      Use
	exported usb.Device    // on the loopback server; nil: not exported
	imported bool          // by a client of the loopback server
	staged   *stage.Device // nil: not attached
	lost     error         // wraps stage.ErrLost, if the device was closed with that error
}

func (a *attachment) run(ctx context.Context) {
	retry := retryFirstInterval
	for ctx.Err() == nil {
		began := time.Now()
		err := a.attach(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > retryMaxInterval {
			retry = retryFirstInterval
		}
		if isFinal(err) {
			a.set(func(use *Use) { use.Phase, use.Reason = Failed, err })
			<-ctx.Done()
			return
		}
		a.set(func(use *Use) { use.Phase, use.Reason = Waiting, err })
		a.m.cfg.Logger.Info("device is not attached",
			"device", a.stored.Device, "peer", a.stored.Peer.Short(), "retry_in", retry, "err", err)
		if a.wait(ctx, retry, began.Add(retryFirstInterval)) {
			retry = retryFirstInterval
		} else {
			retry = min(2*retry, retryMaxInterval)
		}
	}
}

// wait waits for the interval, or until the peer's list of devices changes, but in
// that case until earliest at least. It reports whether the list has changed.
func (a *attachment) wait(ctx context.Context, interval time.Duration, earliest time.Time) bool {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-a.retryNow:
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

// isFinal reports whether the error remains if the attachment is tried again.
func isFinal(err error) bool {
	for _, reason := range []error{usbip.ErrNoVHCI, errDetachedHere, session.ErrChanged} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// errDetachedHere is the error of a device that another program has detached from
// the port of this kernel.
var errDetachedHere = errors.New(
	"the device was detached on this machine by another program: release it and use it again to have it back")

// attach attaches the device and keeps it until it is lost. It returns the reason.
func (a *attachment) attach(ctx context.Context) (reason error) {
	if a.stored.Mode == state.ModeVHCI {
		if err := a.m.cfg.Kernel.Find(); err != nil {
			return err
		}
	}
	s, release, err := a.m.cfg.Want(a.stored.Peer)
	if err != nil {
		return err
	}
	defer release()
	expect, err := hex.DecodeString(a.stored.Expect)
	if err != nil {
		return fmt.Errorf("expected descriptors of the device: %w", err)
	}
	stages := stage.Config{
		Off: a.stored.NoAcceleration, Without: a.m.cfg.NotAccelerated,
		WriteCache: a.stored.WriteCache, WriteCached: a.m.cfg.WriteCached,
	}
	remote, err := s.Attach(ctx, tunnel.Attach{
		Device: a.stored.Device, Expect: expect, Ahead: !stages.Off, Isochronous: !stages.Off,
		Limit: a.stored.Limit,
	})
	if err != nil {
		return err
	}
	staged := stage.Wrap(remote, stages)
	defer func() { reason = errors.Join(reason, a.close(staged)) }()
	a.setStaged(staged)
	defer a.setStaged(nil)
	dev := a.renumber(staged)
	defer a.set(func(use *Use) { use.Port, use.BusID = -1, "" })
	if a.stored.Mode == state.ModeVHCI {
		return a.plug(ctx, dev)
	}
	return a.export(ctx, dev)
}

// close closes the device. It returns an error if a disk does not have what was written
// to it.
func (a *attachment) close(dev *stage.Device) error {
	err := dev.Close()
	if !errors.Is(err, stage.ErrLost) {
		return nil
	}
	a.m.mu.Lock()
	a.lost = err
	a.m.mu.Unlock()
	a.m.cfg.Logger.Error("lost data of a disk", "device", a.stored.Device, "peer", a.stored.Peer.Short(), "err", err)
	return err
}

// plug attaches the device to this kernel.
func (a *attachment) plug(ctx context.Context, dev usb.Device) error {
	plugged, err := a.m.cfg.Kernel.Plug(dev)
	if err != nil {
		return err
	}
	defer plugged.Unplug()
	a.setAttached(dev, plugged.Port)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-dev.Gone():
		return endReason(dev)
	case <-plugged.Done():
	}
	select {
	case <-dev.Gone():
		return endReason(dev)
	default:
	}
	if err := plugged.Err(); err != nil {
		return fmt.Errorf("this kernel's USB/IP driver: %w", err)
	}
	return errDetachedHere
}

// export offers the device on the loopback server.
func (a *attachment) export(ctx context.Context, dev usb.Device) error {
	a.setExported(dev)
	defer a.setExported(nil)
	a.setAttached(dev, -1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-dev.Gone():
		return endReason(dev)
	}
}

// errGone is the reason for a lost device whose session gives no reason.
var errGone = errors.New(
	"the device is no longer there: it was unplugged, taken back, or its host could not be reached for too long")

// endReason returns why a device is gone.
func endReason(dev usb.Device) error {
	if d, ok := dev.(interface{ Why() error }); ok && d.Why() != nil {
		return d.Why()
	}
	return errGone
}

// snapshot returns the use with its stages. Manager.mu must be held.
func (a *attachment) snapshot() Use {
	use := a.use
	if a.staged != nil {
		use.Stages = a.staged.Stats()
	}
	return use
}

func (a *attachment) setStaged(dev *stage.Device) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.staged = dev
}

func (a *attachment) setExported(dev usb.Device) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.exported = dev
}

func (a *attachment) setAttached(dev usb.Device, port int) {
	a.set(func(use *Use) {
		use.Phase, use.Reason, use.Info, use.Port = Attached, nil, dev.Info(), port
		if use.Mode == state.ModeEndpoint {
			use.BusID = dev.Info().ID
		}
	})
	a.m.cfg.Logger.Info("attached a device",
		"device", a.stored.Device, "peer", a.stored.Peer.Short(), "port", port)
}

// set changes the use and announces the change.
func (a *attachment) set(change func(*Use)) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	phase := a.use.Phase
	change(&a.use)
	if a.use.Phase != phase {
		a.use.Since = time.Now()
	}
	a.m.announce()
}

// renumber gives the device the bus id and numbers that USB/IP needs.
func (a *attachment) renumber(dev usb.Device) usb.Device {
	info := dev.Info()
	info.ID = fmt.Sprintf("%d-%d", busNumber, a.number)
	info.BusNumber, info.DeviceNumber = busNumber, uint32(a.number)
	return numberedDevice{dev, info}
}
