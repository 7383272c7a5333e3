package storage

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/counts"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Stage is the storage stage of one device:
//
//	          command wrapper
//	idle ─────────────────────► busy
//	 ▲ ◄────────────────────── │  │
//	 │       status fetched       │ cancelled, reset,
//	 │                            │ or a read ahead failed
//	 │ status wrapper             ▼
//	passing ◄────────────────── draining ──► busy, idle
//	          nothing is under way
//
// From every mode but draining, an unexpected event leads to passing.
type Stage struct {
	usb.Device
	box   *outbox.Outbox
	place place

	mu        sync.Mutex // guards the fields below
	mode      mode
	chosen    bool   // the configuration and the alternate setting of place are chosen
	off       string // why the stage is off for good; empty: it is not
	closed    bool
	cmd       *command // of the driver; nil unless busy or draining
	ins       []*usb.URB
	outs      []*usb.URB // that the driver submitted too early
	exchanges exchanges
	passed    passage
	drain     drain
	ahead     ahead
	cache     cache
	expiry    *time.Timer // nil: nothing can expire
	commands  int64
	hits      int64
}

type mode uint8

const (
	idle     mode = iota // between two commands
	busy                 // with a command of the driver
	draining             // the driver's URBs wait until nothing of the stage is under way
	passing              // URBs pass unchanged
)

// place holds the configuration, interface and endpoints with Bulk-Only Transport.
type place struct {
	configuration, number, alternate uint8
	in, out                          usb.Endpoint
	maxPacket                        int  // bytes, of in
	isSCSI                           bool // bInterfaceSubClass 06h
}

// Config holds the settings of a [Stage].
type Config struct {
	WriteCache bool // see the package comment
}

// New returns dev with the storage stage. dev must be a disk, see [IsDisk]. It returns
// nil and the reason if the stage does not work with this kind of disk.
func New(dev usb.Device, cfg Config) (*Stage, string) {
	info := dev.Info()
	p, ok := find(info)
	if !ok {
		return nil, "not a disk with Bulk-Only Transport"
	}
	if reason := quirks[device{info.Vendor, info.Product}]; reason != "" {
		return nil, reason
	}
	s := &Stage{Device: dev, box: outbox.New(dev), place: p, chosen: p.alternate == 0}
	s.exchanges = exchanges{stage: s, list: map[*exchange]struct{}{}}
	s.passed = passage{stage: s, shadows: map[*usb.URB]*shadow{}}
	s.drain.stage = s
	s.cache = cache{stage: s, on: cfg.WriteCache, flush: flush{stage: s}}
	s.ahead.cache = &s.cache
	return s, ""
}

// IsDisk reports whether the stage is made for a device.
func IsDisk(info usb.Info) bool {
	_, ok := find(info)
	return ok
}

// find returns the first setting with Bulk-Only Transport (bInterfaceClass 08h,
// bInterfaceProtocol 50h) of the active configuration.
func find(info usb.Info) (place, bool) {
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return place{}, false
	}
	active, _ := d.Configuration(info.Configuration)
	for _, setting := range active.Settings {
		if setting.Class != 0x08 || setting.Protocol != 0x50 {
			continue
		}
		p := place{configuration: active.Value, number: setting.Number, alternate: setting.Alternate}
		p.isSCSI = setting.SubClass == 0x06
		for _, e := range setting.Endpoints {
			switch {
			case e.Type != usb.Bulk:
			case e.Address.In() && p.in == 0:
				p.in, p.maxPacket = e.Address, int(e.MaxPacket)
			case !e.Address.In() && p.out == 0:
				p.out = e.Address
			}
		}
		if p.in != 0 && p.out != 0 && p.maxPacket > 0 {
			return p, true
		}
	}
	return place{}, false
}

// Stats returns why the stage is off for good, if it is, and what it has done.
func (s *Stage) Stats() (off string, work counts.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.off, counts.Counts{
		WriteCache: s.cache.on,
		Commands:   s.commands, Hits: s.hits, Ahead: s.ahead.fetched, Discarded: s.ahead.dropped,
		Cached: s.cache.taken, Unwritten: int64(s.cache.bytes), Unsaved: s.cache.lost,
	}
}

// Submit implements [usb.Device].
func (s *Stage) Submit(u *usb.URB) { u.Begin(s.enqueue) }

// enqueue accepts an URB of the driver.
func (s *Stage) enqueue(u *usb.URB) usb.Status {
	guard.Clear(u)
	s.mu.Lock()
	s.submit(u)
	s.mu.Unlock()
	s.box.Run()
	return usb.StatusOK
}

// submit handles an URB of the driver. mu must be held.
func (s *Stage) submit(u *usb.URB) {
	bulk := u.Endpoint == s.place.in || u.Endpoint == s.place.out
	switch {
	case s.closed:
		s.box.Finish(u, usb.StatusShutdown)
	case u.Endpoint.Number() == 0:
		s.passed.control(u)
	case !bulk || len(u.Packets) > 0:
		s.box.Submit(u)
	case s.mode == draining:
		s.drain.held = append(s.drain.held, u)
	case s.mode == passing && s.passed.count == 0 && s.chosen && s.cache.isNeeded() && s.place.isCommand(u):
		s.drain.held = append(s.drain.held, u)
		s.cache.force()
	case s.mode == passing:
		s.passed.pass(u)
	case s.mode == idle:
		s.first(u)
	case u.Endpoint == s.place.in:
		s.ins = append(s.ins, u)
		s.pump()
	case len(u.Data) == 0: // ends a transfer of full packets
		s.box.Finish(u, usb.StatusOK)
	case s.cmd.wantsData():
		s.exchanges.dataOut(u)
	default: // the device accepts no command before the driver has fetched the status
		s.outs = append(s.outs, u)
	}
}

// first handles an URB of the driver between two commands. mu must be held.
func (s *Stage) first(u *usb.URB) {
	w, _ := parseWrapper(u.Data)
	ok := s.place.isCommand(u) && s.chosen && !s.isOff() && (!w.toHost() || w.length() <= usb.MaxTransfer)
	switch {
	case ok:
		s.begin(u, w)
	case s.exchanges.len() > 0:
		s.drain.held = append(s.drain.held, u)
		s.drain.begin(passing, false)
	default:
		s.toPassing()
		s.passed.pass(u)
	}
}

// isCommand reports whether u is a command wrapper.
func (p place) isCommand(u *usb.URB) bool {
	_, ok := parseWrapper(u.Data)
	return ok && u.Endpoint == p.out
}

// Cancel implements [usb.Device].
func (s *Stage) Cancel(u *usb.URB) {
	s.mu.Lock()
	s.cancel(u)
	s.mu.Unlock()
	s.box.Run()
}

func (s *Stage) cancel(u *usb.URB) {
	if sh := s.passed.shadows[u]; sh != nil {
		sh.cancelled = true
		s.box.Cancel(sh.urb)
		s.passed.cancelRepeated()
		if s.cmd != nil && s.cmd.exchange == sh.exchange && sh.exchange != nil {
			s.drain.begin(passing, true)
		}
		return
	}
	for _, queue := range []*[]*usb.URB{&s.drain.held, &s.cache.controls, &s.outs, &s.ins} {
		i := slices.Index(*queue, u)
		switch {
		case i < 0:
		case i == 0 && queue == &s.ins: // the device is asked to stop
			s.drain.cancelled = append(s.drain.cancelled, u)
			s.drain.begin(passing, true)
			return
		default:
			*queue = slices.Delete(*queue, i, i+1)
			s.box.Finish(u, usb.StatusReset)
			return
		}
	}
	if s.cmd != nil && slices.Contains(s.cmd.unsent, u) {
		s.drain.cancelled = append(s.drain.cancelled, u)
		s.drain.begin(passing, true)
		return
	}
	s.box.Cancel(u)
}

// Close implements [usb.Device]. It waits until the writes of the write cache are on the
// disk, but not for long. Its error wraps [ErrLost] if some are not.
func (s *Stage) Close() error {
	s.cache.flush.run()
	s.mu.Lock()
	s.closed = true
	if s.expiry != nil {
		s.expiry.Stop()
	}
	s.drain.recovery.stop()
	s.mu.Unlock()
	err := s.Device.Close()
	s.box.Drain()
	s.mu.Lock()
	left := slices.Concat(s.ins, s.outs, s.drain.held, s.cache.controls)
	if s.cmd != nil {
		left = append(left, s.cmd.unsent...)
		s.cmd.unsent = nil
	}
	s.ins, s.outs, s.drain.held, s.cache.controls = nil, nil, nil, nil
	s.ahead.dropAll()
	err = errors.Join(err, s.cache.abandon())
	s.mu.Unlock()
	for _, u := range left {
		s.box.Finish(u, usb.StatusShutdown)
	}
	s.box.Drain()
	return err
}

// turnOff turns the stage off for good. mu must be held.
func (s *Stage) turnOff(reason string) {
	if s.off == "" {
		s.off = reason
	}
	s.ahead.dropAll()
}
