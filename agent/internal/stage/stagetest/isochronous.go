package stagetest

import (
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// The endpoints of an [IsoDevice]. They exist in alternate setting 1 of interface 0. The bulk
// endpoints are always ready.
const (
	IsoIn      usb.Endpoint = 0x81
	IsoOut     usb.Endpoint = 0x02
	IsoBulkIn  usb.Endpoint = 0x83
	IsoBulkOut usb.Endpoint = 0x04
)

// IsoConfig describes an [IsoDevice].
type IsoConfig struct {
	Speed    usb.Speed
	Interval uint8 // bInterval of both endpoints
	Class    uint8 // of the interface
	PPM      int64 // error of its clock: positive if its packets take longer
	// Packet returns the data of IN packet n since the device was made. Nil: none.
	Packet func(n uint64) []byte
	// Played receives the data of each OUT packet at the time of its slot. It may be nil.
	Played func(data []byte)
}

// IsoDevice is a device with isochronous endpoints and a clock of its own. It runs in
// virtual time.
type IsoDevice struct {
	cfg  IsoConfig
	info usb.Info
	slot time.Duration // length without the error of the clock
	made time.Time
	gone chan struct{}

	mu      sync.Mutex
	on      bool // alternate setting 1
	closed  bool
	next    map[usb.Endpoint]uint64  // first slot that no URB has
	pending map[*usb.URB]*time.Timer // URBs
	most    int                      // URBs that were pending together
}

// NewIsoDevice returns a device whose clock starts now.
func NewIsoDevice(cfg IsoConfig) *IsoDevice {
	endpoint := func(e usb.Endpoint) []byte { return []byte{7, 5, byte(e), 1, 0x00, 0x04, cfg.Interval} }
	setting := func(alternate, endpoints byte) []byte {
		return []byte{9, 4, 0, alternate, endpoints, cfg.Class, 2, 0, 0}
	}
	bulk := func(e usb.Endpoint) []byte { return []byte{7, 5, byte(e), 2, 0x00, 0x02, 0} }
	configuration := slices.Concat([]byte{9, 2, 0, 0, 1, 1, 0, 0x80, 50}, setting(0, 0), setting(1, 4),
		endpoint(IsoIn), endpoint(IsoOut), bulk(IsoBulkIn), bulk(IsoBulkOut))
	configuration[2] = byte(len(configuration))
	d := &IsoDevice{
		cfg: cfg, made: time.Now(), gone: make(chan struct{}), next: map[usb.Endpoint]uint64{},
		pending: map[*usb.URB]*time.Timer{},
	}
	d.info = usb.Info{
		ID: "1-1", Speed: cfg.Speed, Configuration: 1, Descriptors: slices.Concat(
			[]byte{18, 1, 0, 2, 0, 0, 0, 64, 9, 0x12, 10, 0, 0, 1, 0, 0, 0, 1}, configuration),
	}
	d.slot = time.Millisecond << (cfg.Interval - 1)
	if cfg.Speed >= usb.SpeedHigh {
		d.slot /= 8
	}
	return d
}

// Time returns when a slot begins.
func (d *IsoDevice) Time(slot uint64) time.Time {
	t := time.Duration(slot) * d.slot
	return d.made.Add(t + t/time.Microsecond*time.Duration(d.cfg.PPM)/1000)
}

// Pending returns the number of URBs that the device has, and the highest number so far.
func (d *IsoDevice) Pending() (now, most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending), d.most
}

// Unplug ends the device.
func (d *IsoDevice) Unplug() { d.end(usb.StatusNoDevice) }

// Info implements [usb.Device].
func (d *IsoDevice) Info() usb.Info { return d.info }

// Gone implements [usb.Device].
func (d *IsoDevice) Gone() <-chan struct{} { return d.gone }

// Submit implements [usb.Device].
func (d *IsoDevice) Submit(u *usb.URB) {
	if u.Begin(d.begin) && u.Endpoint != IsoIn && u.Endpoint != IsoOut {
		if u.Endpoint.Number() != 0 {
			u.Actual = len(u.Data)
		}
		u.Finish(usb.StatusOK)
	}
}

func (d *IsoDevice) begin(u *usb.URB) usb.Status {
	if u.Endpoint.Number() == 0 {
		return d.control(u.SetupPacket())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return usb.StatusNoDevice
	case d.on && (u.Endpoint == IsoBulkIn || u.Endpoint == IsoBulkOut):
		return usb.StatusOK
	case !d.on || u.Endpoint != IsoIn && u.Endpoint != IsoOut:
		return usb.StatusNoEntry
	case len(u.Packets) == 0:
		return usb.StatusInvalid
	}
	first := d.next[u.Endpoint]
	if !d.Time(first).After(time.Now()) {
		first = uint64(time.Since(d.made)/d.slot) + 1
	}
	end := first + uint64(len(u.Packets))
	d.next[u.Endpoint] = end
	d.pending[u] = time.AfterFunc(time.Until(d.Time(end)), func() { d.complete(u, first) })
	d.most = max(d.most, len(d.pending))
	return usb.StatusOK
}

// complete completes an URB at the end of its last slot.
func (d *IsoDevice) complete(u *usb.URB, first uint64) {
	if !d.take(u) {
		return
	}
	for i := range u.Packets {
		p := &u.Packets[i]
		p.Actual, p.Status = p.Length, usb.StatusOK
		data := u.Data[p.Offset : p.Offset+p.Length]
		if u.In() {
			p.Actual = uint32(copy(data, d.cfg.Packet(first+uint64(i))))
		} else if d.cfg.Played != nil {
			d.cfg.Played(data)
		}
		u.Actual += int(p.Actual)
	}
	u.Finish(usb.StatusOK)
}

// take removes an URB. It returns false if it was removed before.
func (d *IsoDevice) take(u *usb.URB) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	timer, ok := d.pending[u]
	if ok {
		timer.Stop()
		delete(d.pending, u)
	}
	return ok
}

func (d *IsoDevice) control(s usb.Setup) usb.Status {
	switch s.Change() {
	case usb.SetInterface:
		d.flush(usb.StatusShutdown, s.Value == 1)
	case usb.SetConfiguration, usb.PortReset:
		d.flush(usb.StatusShutdown, false)
	}
	return usb.StatusOK
}

// flush completes all URBs and turns the endpoints on or off.
func (d *IsoDevice) flush(status usb.Status, on bool) {
	d.mu.Lock()
	d.on = on
	var urbs []*usb.URB
	for u := range d.pending {
		urbs = append(urbs, u)
	}
	d.mu.Unlock()
	for _, u := range urbs {
		if d.take(u) {
			u.Finish(status)
		}
	}
}

// Cancel implements [usb.Device].
func (d *IsoDevice) Cancel(u *usb.URB) {
	if d.take(u) {
		u.Finish(usb.StatusReset)
	}
}

func (d *IsoDevice) end(status usb.Status) {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if !closed {
		close(d.gone)
		d.flush(status, false)
	}
}

// Close implements [usb.Device].
func (d *IsoDevice) Close() error {
	d.end(usb.StatusShutdown)
	return nil
}
