package stagetest

import (
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/outbox"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// PeripheralConfig describes a Peripheral.
type PeripheralConfig struct {
	Vendor, Product uint16
	Speed           usb.Speed
	Configuration   []byte // the configuration descriptor with those that belong to it
	// Receive handles what the computer has sent to an OUT endpoint. It may call Report.
	Receive func(d *Peripheral, e usb.Endpoint, data []byte)
	// Answer returns the data of a control request, or false for a stall. Nil: every
	// request succeeds without data.
	Answer func(s usb.Setup) ([]byte, bool)
}

// Peripheral is a device with interrupt or bulk endpoints. An IN endpoint sends packets that
// wait in a queue, and an OUT endpoint takes all data at once, unless it is halted or busy.
type Peripheral struct {
	cfg  PeripheralConfig
	info usb.Info
	box  *outbox.Outbox
	gone chan struct{}

	mu        sync.Mutex
	ended     usb.Status
	endpoints map[usb.Endpoint]usb.EndpointDescriptor
	urbs      map[usb.Endpoint][]*usb.URB
	packets   map[usb.Endpoint][][]byte
	halted    map[usb.Endpoint]bool
	busy      map[usb.Endpoint]bool
	submitted int
	stale     int // transfers posted when a request changed the state of the device
}

// NewPeripheral returns an opened device.
func NewPeripheral(cfg PeripheralConfig) *Peripheral {
	head := []byte{18, 1, 0, 2, 0, 0, 0, 64, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}
	head[8], head[9] = byte(cfg.Vendor), byte(cfg.Vendor>>8)
	head[10], head[11] = byte(cfg.Product), byte(cfg.Product>>8)
	d := &Peripheral{
		cfg: cfg, box: outbox.New(nil), gone: make(chan struct{}),
		urbs: map[usb.Endpoint][]*usb.URB{}, packets: map[usb.Endpoint][][]byte{},
		halted: map[usb.Endpoint]bool{}, busy: map[usb.Endpoint]bool{},
	}
	d.info = usb.Info{ID: "t-device", Speed: cfg.Speed, Descriptors: slices.Concat(head, cfg.Configuration)}
	p, err := usb.ParseDescriptors(d.info.Descriptors)
	if err != nil {
		panic(err)
	}
	p.Describe(&d.info, 1)
	d.endpoints = p.Configurations[0].Endpoints(nil)
	return d
}

// Configuration returns a configuration descriptor with interfaces.
func Configuration(interfaces ...[]byte) []byte {
	body := slices.Concat(interfaces...)
	total := 9 + len(body)
	return append([]byte{9, 2, byte(total), byte(total >> 8), byte(len(interfaces)), 1, 0, 0x80, 50}, body...)
}

// Interface returns an interface descriptor and those of its endpoints.
func Interface(i usb.Interface, endpoints ...usb.EndpointDescriptor) []byte {
	b := []byte{9, 4, i.Number, 0, byte(len(endpoints)), i.Class, i.SubClass, i.Protocol, 0}
	for _, e := range endpoints {
		b = append(b, 7, 5, byte(e.Address), byte(e.Type), byte(e.MaxPacket), byte(e.MaxPacket>>8), e.Interval)
	}
	return b
}

// Info implements [usb.Device].
func (d *Peripheral) Info() usb.Info { return d.info }

// Gone implements [usb.Device].
func (d *Peripheral) Gone() <-chan struct{} { return d.gone }

// Report queues a packet for the computer.
func (d *Peripheral) Report(e usb.Endpoint, packet []byte) {
	d.mu.Lock()
	d.packets[e] = append(d.packets[e], slices.Clone(packet))
	d.run(e)
	d.mu.Unlock()
	d.box.Run()
}

// Unread returns the number of packets in the queue of an endpoint.
func (d *Peripheral) Unread(e usb.Endpoint) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.packets[e])
}

// Posted returns the number of transfers of an endpoint that are not complete.
func (d *Peripheral) Posted(e usb.Endpoint) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.urbs[e])
}

// Submitted returns the number of all transfers that were submitted.
func (d *Peripheral) Submitted() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.submitted
}

// Stale returns the greatest number of transfers that were posted when a request selected a
// configuration or a setting, cleared a halt, or reset the device.
func (d *Peripheral) Stale() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stale
}

// Fail ends the oldest transfers of an endpoint with a status, n at most.
func (d *Peripheral) Fail(e usb.Endpoint, n int, status usb.Status) {
	d.mu.Lock()
	n = min(n, len(d.urbs[e]))
	for _, u := range d.urbs[e][:n] {
		d.box.Finish(u, status)
	}
	d.urbs[e] = d.urbs[e][n:]
	d.mu.Unlock()
	d.box.Run()
}

// Halt halts an endpoint.
func (d *Peripheral) Halt(e usb.Endpoint) {
	d.mu.Lock()
	d.halted[e] = true
	d.run(e)
	d.mu.Unlock()
	d.box.Run()
}

// SetBusy makes an OUT endpoint take nothing, or take data again.
func (d *Peripheral) SetBusy(e usb.Endpoint, busy bool) {
	d.mu.Lock()
	d.busy[e] = busy
	taken := d.run(e)
	d.mu.Unlock()
	d.finish(e, taken)
}

// Submit implements [usb.Device].
func (d *Peripheral) Submit(u *usb.URB) {
	u.Actual = 0
	if s := u.Check(); s != usb.StatusOK {
		u.Finish(s)
		return
	}
	var taken [][]byte
	d.mu.Lock()
	d.submitted++
	_, known := d.endpoints[u.Endpoint]
	switch {
	case d.ended != usb.StatusOK:
		d.box.Finish(u, d.ended)
	case u.Endpoint.Number() == 0:
		d.control(u)
	case !known || len(u.Packets) > 0:
		d.box.Finish(u, usb.StatusInvalid)
	default:
		d.urbs[u.Endpoint] = append(d.urbs[u.Endpoint], u)
		taken = d.run(u.Endpoint)
	}
	d.mu.Unlock()
	d.finish(u.Endpoint, taken)
}

// finish completes URBs and handles what an OUT endpoint has taken.
func (d *Peripheral) finish(e usb.Endpoint, taken [][]byte) {
	d.box.Run()
	for _, data := range taken {
		if d.cfg.Receive != nil {
			d.cfg.Receive(d, e, data)
		}
	}
}

// run moves data of an endpoint, and returns what the computer has sent. mu must be held.
func (d *Peripheral) run(e usb.Endpoint) (taken [][]byte) {
	for len(d.urbs[e]) > 0 {
		u := d.urbs[e][0]
		status := usb.StatusOK
		switch {
		case d.halted[e]:
			status = usb.StatusStall
		case e.In():
			var ok bool
			if status, ok = d.fill(u); !ok {
				return taken
			}
		case d.busy[e]:
			return taken
		default:
			u.Actual = len(u.Data)
			taken = append(taken, slices.Clone(u.Data))
		}
		d.urbs[e] = d.urbs[e][1:]
		d.box.Finish(u, status)
	}
	return taken
}

// fill moves packets into an IN transfer, and reports whether it is complete. mu must be
// held.
func (d *Peripheral) fill(u *usb.URB) (usb.Status, bool) {
	for len(d.packets[u.Endpoint]) > 0 {
		packet := d.packets[u.Endpoint][0]
		d.packets[u.Endpoint] = d.packets[u.Endpoint][1:]
		n := copy(u.Data[u.Actual:], packet)
		u.Actual += n
		switch {
		case n < len(packet):
			return usb.StatusOverflow, true
		case u.Actual == len(u.Data):
			return usb.StatusOK, true
		case len(packet) < int(d.endpoints[u.Endpoint].MaxPacket) && u.Flags&usb.ShortNotOK != 0:
			return usb.StatusShortRead, true
		case len(packet) < int(d.endpoints[u.Endpoint].MaxPacket):
			return usb.StatusOK, true
		}
	}
	return usb.StatusOK, false
}

// control runs a request. mu must be held.
func (d *Peripheral) control(u *usb.URB) {
	s := u.SetupPacket()
	if s.Change() != usb.NoChange {
		for _, q := range d.urbs {
			d.stale = max(d.stale, len(q))
		}
	}
	switch s.Change() {
	case usb.ClearHalt:
		delete(d.halted, usb.Endpoint(s.Index))
		delete(d.packets, usb.Endpoint(s.Index))
	case usb.SetConfiguration, usb.SetInterface, usb.PortReset:
		clear(d.halted)
		clear(d.packets)
	case usb.NoChange:
		if d.cfg.Answer == nil {
			break
		}
		answer, ok := d.cfg.Answer(s)
		if !ok {
			d.box.Finish(u, usb.StatusStall)
			return
		}
		if u.In() {
			u.Actual = copy(u.Data, answer)
		}
	}
	d.box.Finish(u, usb.StatusOK)
}

// Cancel implements [usb.Device].
func (d *Peripheral) Cancel(u *usb.URB) {
	d.mu.Lock()
	q := d.urbs[u.Endpoint]
	if i := slices.Index(q, u); i >= 0 {
		d.urbs[u.Endpoint] = slices.Delete(q, i, i+1)
		d.box.Finish(u, usb.StatusReset)
	}
	d.mu.Unlock()
	d.box.Run()
}

// Unplug ends the device.
func (d *Peripheral) Unplug() { d.end(usb.StatusNoDevice) }

// Close implements [usb.Device].
func (d *Peripheral) Close() error {
	d.end(usb.StatusShutdown)
	return nil
}

func (d *Peripheral) end(s usb.Status) {
	d.mu.Lock()
	if d.ended == usb.StatusOK {
		d.ended = s
		close(d.gone)
		for _, q := range d.urbs {
			for _, u := range q {
				d.box.Finish(u, s)
			}
		}
		clear(d.urbs)
	}
	d.mu.Unlock()
	d.box.Drain()
}
