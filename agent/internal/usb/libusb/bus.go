//go:build libusb

package libusb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/google/gousb"
)

// pollInterval is the time between two readings of the list of devices in Watch.
// libusb has hotplug events, but gousb does not give access to them.
const pollInterval = 2 * time.Second

// controlTimeout bounds a control transfer, which gousb cannot cancel.
const controlTimeout = 5 * time.Second

// bus implements [usb.Bus].
type bus struct {
	inUse func(usb.Info) string

	mu     sync.Mutex
	opened map[string]bool // IDs of the devices that are open
}

// New returns the bus of this machine.
func New(c Config) (usb.Bus, error) {
	if c.InUse == nil {
		c.InUse = func(usb.Info) string { return "" }
	}
	return &bus{inUse: c.InUse, opened: make(map[string]bool)}, nil
}

// newContext returns a new gousb context. It returns an error where gousb
// panics. Every context has a goroutine, so the caller should close it soon.
func newContext() (c *gousb.Context, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("libusb cannot be started: %v", r)
		}
	}()
	return gousb.NewContext(), nil
}

// idOf returns the ID of a device in Linux's form: the number of the bus and the
// port number at each hub, "1-1.2". It returns "" for a root hub.
func idOf(d *gousb.DeviceDesc) string {
	if len(d.Path) == 0 {
		return ""
	}
	ports := make([]string, len(d.Path))
	for i, p := range d.Path {
		ports[i] = strconv.Itoa(p)
	}
	return strconv.Itoa(d.Bus) + "-" + strings.Join(ports, ".")
}

// Devices implements [usb.Bus]. Devices that cannot be opened are listed without
// descriptors and strings.
func (b *bus) Devices() ([]usb.Info, error) {
	var list []usb.Info
	err := each(func(d *gousb.DeviceDesc, open func() (*gousb.Device, error)) {
		info := describe(d)
		handle, err := open()
		if err != nil {
			info.InUse = "it cannot be opened: " + err.Error()
		} else {
			if err := read(handle, &info); err != nil {
				info.InUse = "it cannot be read: " + err.Error()
			}
			_ = handle.Close() // fails only while interfaces are claimed
		}
		list = append(list, b.withUse(info))
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b usb.Info) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// each calls f for every device except root hubs. open opens the device.
func each(f func(d *gousb.DeviceDesc, open func() (*gousb.Device, error))) error {
	c, err := newContext()
	if err != nil {
		return err
	}
	var all []*gousb.DeviceDesc
	// An error means that a device was unplugged while its description was read.
	_, _ = c.OpenDevices(func(d *gousb.DeviceDesc) bool {
		if idOf(d) != "" {
			all = append(all, d)
		}
		return false
	})
	for _, d := range all {
		f(d, func() (*gousb.Device, error) { return openIn(c, idOf(d)) })
	}
	if err := c.Close(); err != nil {
		return fmt.Errorf("libusb: %w", err)
	}
	return nil
}

// openIn opens the device with that ID in context c.
func openIn(c *gousb.Context, id string) (*gousb.Device, error) {
	seen := id == "" // idOf returns "" for root hubs, which must not be opened
	found, err := c.OpenDevices(func(d *gousb.DeviceDesc) bool {
		wanted := !seen && idOf(d) == id
		seen = seen || wanted
		return wanted
	})
	switch {
	case len(found) > 0:
		found[0].ControlTimeout = controlTimeout
		return found[0], nil
	case errors.Is(err, gousb.ErrorAccess):
		return nil, fmt.Errorf("%w: run the agent as root, or let it write to the device's node", usb.ErrPermission)
	case err == nil, errors.Is(err, gousb.ErrorNoDevice):
		return nil, usb.ErrNotFound
	}
	return nil, err
}

var speeds = map[gousb.Speed]usb.Speed{
	gousb.SpeedLow: usb.SpeedLow, gousb.SpeedFull: usb.SpeedFull,
	gousb.SpeedHigh: usb.SpeedHigh, gousb.SpeedSuper: usb.SpeedSuper,
}

// describe returns the part of the description that is known before the device
// is opened.
func describe(d *gousb.DeviceDesc) usb.Info {
	return usb.Info{
		ID: idOf(d), Backend: "libusb",
		BusNumber: uint32(d.Bus), DeviceNumber: uint32(d.Address), Speed: speeds[d.Speed],
		Vendor: uint16(d.Vendor), Product: uint16(d.Product), Release: uint16(d.Device),
		Class: uint8(d.Class), SubClass: uint8(d.SubClass), Protocol: uint8(d.Protocol),
		NumConfigurations: uint8(len(d.Configs)),
	}
}

// read reads descriptors and strings from an opened device into info.
func read(h *gousb.Device, info *usb.Info) error {
	raw := make([]byte, 18)
	if n, err := h.Control(0x80, 6, 0x0100, 0, raw); err != nil || n != len(raw) {
		return fmt.Errorf("device descriptor: %d bytes, %w", n, orShort(err))
	}
	for i := range min(int(raw[17]), 8) {
		header := make([]byte, 9)
		if n, err := h.Control(0x80, 6, 0x0200|uint16(i), 0, header); err != nil || n != len(header) {
			return fmt.Errorf("configuration %d: %d bytes, %w", i, n, orShort(err))
		}
		whole := make([]byte, binary.LittleEndian.Uint16(header[2:]))
		n, err := h.Control(0x80, 6, 0x0200|uint16(i), 0, whole)
		if err != nil {
			return fmt.Errorf("configuration %d: %w", i, err)
		}
		raw = append(raw, whole[:n]...)
	}
	d, err := usb.ParseDescriptors(raw)
	if err != nil {
		return err
	}
	active, err := h.ActiveConfigNum()
	if err != nil {
		return fmt.Errorf("active configuration: %w", err)
	}
	info.Descriptors = raw
	d.Describe(info, uint8(active))
	for n, text := range []*string{&info.Manufacturer, &info.ProductName, &info.Serial} {
		if s, err := h.GetStringDescriptor(int(raw[14+n])); err == nil {
			*text = s // on an error the string stays empty
		}
	}
	return nil
}

// orShort returns err, or an error for a short answer if err is nil.
func orShort(err error) error {
	if err == nil {
		return errors.New("the answer is too short")
	}
	return err
}

// withUse returns i with InUse set.
func (b *bus) withUse(i usb.Info) usb.Info {
	b.mu.Lock()
	opened := b.opened[i.ID]
	b.mu.Unlock()
	switch {
	case i.Class == uint8(gousb.ClassHub):
		i.InUse = "it is a hub"
	case opened:
		i.InUse = "it is already opened"
	case i.InUse == "":
		i.InUse = b.inUse(i)
	}
	return i
}

// Watch implements [usb.Bus].
func (b *bus) Watch(ctx context.Context, changed func()) error {
	t := time.NewTicker(pollInterval)
	defer t.Stop()
	last := ""
	for first := true; ; first = false {
		now, err := b.fingerprint()
		if err != nil {
			return err
		}
		if first || now != last {
			last = now
			changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// fingerprint returns a string that changes when a device is plugged in,
// unplugged, opened or closed. It opens no device.
func (b *bus) fingerprint() (string, error) {
	var list []string
	err := each(func(d *gousb.DeviceDesc, _ func() (*gousb.Device, error)) {
		i := b.withUse(describe(d))
		list = append(list, fmt.Sprintf("%s %d %s", i.ID, i.DeviceNumber, i.InUse))
	})
	slices.Sort(list)
	return strings.Join(list, "\n"), err
}

// Open implements [usb.Bus].
func (b *bus) Open(id string, o usb.OpenOptions) (usb.Device, error) {
	b.mu.Lock()
	taken := b.opened[id]
	b.opened[id] = true
	b.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("%s: %w: release it first", id, usb.ErrInUse)
	}
	d, err := b.open(id, o)
	if err != nil {
		b.release(id)
		return nil, fmt.Errorf("%q: %w", id, err)
	}
	return d, nil
}

func (b *bus) release(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.opened, id)
}

func (b *bus) open(id string, o usb.OpenOptions) (d *device, err error) {
	c, err := newContext()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	h, err := openIn(c, id)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	info := describe(h.Desc)
	if err := read(h, &info); err != nil {
		return nil, err
	}
	if info.Class == uint8(gousb.ClassHub) {
		return nil, fmt.Errorf("%w: it is a hub", usb.ErrInUse)
	}
	if why := b.inUse(info); why != "" && !o.Force {
		return nil, fmt.Errorf("%w: %s", usb.ErrInUse, why)
	}
	claims, err := claim(h, int(info.Configuration))
	if err != nil {
		return nil, err
	}
	return newDevice(info, claims, func() error {
		defer b.release(id)
		return errors.Join(h.Close(), c.Close())
	})
}
