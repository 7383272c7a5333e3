package virtual

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// busNumber is the bus number of all virtual devices. Kernels use lower numbers
// (Linux: USB_MAXBUS is 64), so it differs from that of every real device.
const busNumber = 200

// Config lists the gadgets that are plugged in at the start.
type Config struct {
	Gadgets []Gadget // no two may have the same ID; none may be on two buses
}

// Bus is a bus of software devices. It implements [usb.Bus].
type Bus struct {
	mu      sync.Mutex
	slots   map[string]*slot // by ID
	next    uint32           // number of the device plugged in last
	changed chan struct{}    // closed and replaced by every change
}

// slot is the port where a gadget is plugged in.
type slot struct {
	gadget Gadget
	about  description
	info   usb.Info
	opened *device // nil while the device is not open
}

// New returns a bus with the gadgets of c.
func New(c Config) (*Bus, error) {
	b := &Bus{slots: make(map[string]*slot), changed: make(chan struct{})}
	for _, g := range c.Gadgets {
		if err := b.Plug(g); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Plug plugs in a gadget. It fails if the bus has a device with the same ID.
func (b *Bus) Plug(g Gadget) error {
	about := g.describe()
	raw := slices.Concat(about.device, about.configuration)
	d, err := usb.ParseDescriptors(raw)
	if err != nil {
		return fmt.Errorf("virtual device %s: %w", about.id, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.slots[about.id] != nil {
		return fmt.Errorf("virtual device %s: another device has this ID", about.id)
	}
	b.next++
	info := usb.Info{
		ID: about.id, Backend: "virtual", BusNumber: busNumber, DeviceNumber: b.next,
		Speed: about.speed, Descriptors: raw,
		Manufacturer: about.strings[0], ProductName: about.strings[1], Serial: about.strings[2],
	}
	d.Describe(&info, d.Configurations[0].Value)
	b.slots[about.id] = &slot{gadget: g, about: about, info: info}
	b.notify()
	return nil
}

// Unplug removes a device. If the device is open, its Gone channel is closed and
// its URBs end with StatusNoDevice. The gadget may be plugged in again after the
// device was closed.
func (b *Bus) Unplug(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slots[id]
	if s == nil {
		return fmt.Errorf("virtual device %s: %w", id, usb.ErrNotFound)
	}
	delete(b.slots, id)
	if s.opened != nil {
		s.opened.end(usb.StatusNoDevice)
	}
	b.notify()
	return nil
}

// notify wakes the watchers. mu must be held.
func (b *Bus) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Devices implements [usb.Bus].
func (b *Bus) Devices() ([]usb.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]usb.Info, 0, len(b.slots))
	for _, id := range slices.Sorted(maps.Keys(b.slots)) {
		list = append(list, b.slots[id].describe())
	}
	return list, nil
}

// describe returns the current description. The bus's mu must be held.
func (s *slot) describe() usb.Info {
	i := s.info
	i.Interfaces = slices.Clone(i.Interfaces)
	if s.opened != nil {
		i.InUse = "it is already opened"
	}
	return i
}

// Watch implements [usb.Bus].
func (b *Bus) Watch(ctx context.Context, changed func()) error {
	for {
		b.mu.Lock()
		next := b.changed
		b.mu.Unlock()
		changed()
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
	}
}

// Open implements [usb.Bus]. Force has no effect: only another user of the bus
// can have the device open, and Force does not close it.
func (b *Bus) Open(id string, _ usb.OpenOptions) (usb.Device, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slots[id]
	if s == nil {
		return nil, fmt.Errorf("virtual device %s: %w", id, usb.ErrNotFound)
	}
	if s.opened != nil {
		return nil, fmt.Errorf("virtual device %s: %w: release it first", id, usb.ErrInUse)
	}
	d, err := newDevice(s, func() { b.release(s) })
	if err != nil {
		return nil, fmt.Errorf("virtual device %s: %w", id, err)
	}
	s.opened = d
	go d.run()
	b.notify()
	return d, nil
}

// release marks the device in s as closed.
func (b *Bus) release(s *slot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.opened = nil
	b.notify()
}
