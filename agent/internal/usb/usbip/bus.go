// Package usbip implements [usb.Bus] with the devices that a USB/IP server exports:
// usbipd of Linux or of usbipd-win, or a microcontroller. They are used as if they
// were plugged into this machine.
//
// USB/IP has neither encryption nor authentication, and no messages about changes:
// the bus polls the server's list. A stock server leaves out the devices that a
// client uses, so the bus itself remembers those that it has open. The list also
// lacks descriptors and strings. Therefore the bus imports each new device once, for
// a moment, and reads them.
package usbip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
)

// Times of the exchange with the server.
const (
	defaultPollInterval = 2 * time.Second
	refreshTimeout      = 10 * time.Second       // for the list and the descriptors of new devices
	openTimeout         = 10 * time.Second       // for one import
	probeRetryInterval  = 10 * time.Second       // until descriptors that could not be read are read again
	releaseTimeout      = 5 * time.Second        // for the server's reset of a device that this bus has closed
	releaseInterval     = 100 * time.Millisecond // between attempts to open a device that the server resets
)

// busID matches the bus IDs that are accepted from a server.
var busID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.:_-]{0,30}$`)

// Config holds the parameters of New.
type Config struct {
	Server       string        // host:port
	PollInterval time.Duration // of the server's list; 0: 2 s
}

// Bus is the devices of a USB/IP server. It implements [usb.Bus].
type Bus struct {
	server   string
	interval time.Duration
	listing  chan struct{} // of capacity 1: full while a goroutine refreshes the list
	changed  chan struct{} // of capacity 1: full after a device was opened or closed

	mu        sync.Mutex
	ports     map[string]*port // by bus ID
	refreshed time.Time        // end of the last refresh
	listErr   error            // of the last refresh
	watchers  int              // calls of Watch that keep the list up to date
}

// New returns the bus of a server. It does not connect to it.
func New(c Config) (*Bus, error) {
	host, _, err := net.SplitHostPort(c.Server)
	if err != nil {
		return nil, fmt.Errorf("address of the USB/IP server: %w", err)
	}
	if host == "" {
		return nil, fmt.Errorf("address of the USB/IP server: %q has no host", c.Server)
	}
	return &Bus{
		server: c.Server, interval: cmp.Or(c.PollInterval, defaultPollInterval),
		listing: make(chan struct{}, 1), changed: make(chan struct{}, 1), ports: map[string]*port{},
	}, nil
}

// Devices implements [usb.Bus]. While Watch runs, it returns what Watch has found.
func (b *Bus) Devices() ([]usb.Info, error) {
	b.mu.Lock()
	current := !b.refreshed.IsZero() && (b.watchers > 0 || time.Since(b.refreshed) < b.interval)
	b.mu.Unlock()
	if !current {
		b.refresh(context.Background())
	}
	return b.list()
}

// list returns the devices as of the last refresh.
func (b *Bus) list() ([]usb.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := []usb.Info{}
	for _, p := range b.ports {
		all = append(all, p.describe())
	}
	slices.SortFunc(all, func(x, y usb.Info) int { return cmp.Compare(x.ID, y.ID) })
	return all, b.listErr
}

// Watch implements [usb.Bus]. A server that cannot be reached has no devices; Watch
// goes on polling.
func (b *Bus) Watch(ctx context.Context, changed func()) error {
	poll := time.NewTicker(b.interval)
	defer poll.Stop()
	var last []usb.Info
	var lastErr error
	for first := true; ; first = false {
		b.refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if first {
			b.watching(1)
			defer b.watching(-1)
		}
		now, err := b.list()
		if first || (err == nil) != (lastErr == nil) || !slices.EqualFunc(now, last, looksEqual) {
			changed()
		}
		last, lastErr = now, err
		select {
		case <-ctx.Done():
			return nil
		case <-b.changed:
		case <-poll.C:
		}
	}
}

func (b *Bus) watching(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers += n
}

// looksEqual reports whether two descriptions are the same for users of the list.
func looksEqual(x, y usb.Info) bool {
	return x.ID == y.ID && samePlug(x, y) && x.InUse == y.InUse && len(x.Descriptors) == len(y.Descriptors)
}

// samePlug reports whether the list shows a device that has stayed plugged in. An
// operating system counts DeviceNumber up for each device that is plugged in.
func samePlug(x, y usb.Info) bool {
	return x.BusNumber == y.BusNumber && x.DeviceNumber == y.DeviceNumber &&
		x.Vendor == y.Vendor && x.Product == y.Product && x.Release == y.Release
}

// refresh fetches the server's list, and reads the descriptors of new devices.
func (b *Bus) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	select {
	case b.listing <- struct{}{}:
		defer func() { <-b.listing }()
	case <-ctx.Done():
		return
	}
	listed, err := b.fetch(ctx)
	for _, p := range b.merge(listed, err) {
		b.probe(ctx, p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refreshed = time.Now()
}

// fetch returns the server's list without the devices whose bus ID is not usable.
func (b *Bus) fetch(ctx context.Context) ([]usb.Info, error) {
	conn, err := usbip.Dial(ctx, b.server)
	if err != nil {
		return nil, fmt.Errorf("USB/IP server %s: %w", b.server, err)
	}
	listed, err := usbip.List(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("USB/IP server %s: %w", b.server, err)
	}
	return slices.DeleteFunc(listed, func(i usb.Info) bool { return !busID.MatchString(i.ID) }), nil
}

// merge updates the ports by a new list. It returns the ports whose descriptors must
// be read.
func (b *Bus) merge(listed []usb.Info, err error) (unread []*port) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.listErr = err
	seen := map[string]bool{}
	for _, i := range listed {
		p := b.ports[i.ID]
		if p == nil || !p.held() && !samePlug(p.info, i) {
			p = &port{info: i}
			b.ports[i.ID] = p
		}
		seen[i.ID] = true
		p.resetting = false
		if p.unread() && now.After(p.retry) {
			unread = append(unread, p)
		}
	}
	for id, p := range b.ports {
		stays := p.held() || p.resetting && err == nil && now.Before(p.released.Add(releaseTimeout))
		if !seen[id] && !stays {
			delete(b.ports, id)
		}
	}
	return unread
}

// signal makes Watch look at the list.
func (b *Bus) signal() {
	select {
	case b.changed <- struct{}{}:
	default: // Watch has not yet received the previous signal
	}
}

// Open implements [usb.Bus]. Force has no effect: USB/IP cannot take a device from
// another client.
func (b *Bus) Open(id string, _ usb.OpenOptions) (usb.Device, error) {
	p, err := b.port(id)
	if err != nil {
		return nil, err
	}
	if err := b.reserve(p); err != nil {
		return nil, fmt.Errorf("USB/IP device %s: %w", id, err)
	}
	d, err := b.importPort(context.Background(), p)
	b.mu.Lock()
	defer b.mu.Unlock()
	p.reserved = false
	if err != nil {
		return nil, fmt.Errorf("USB/IP server %s: %w", b.server, err)
	}
	p.info = d.Info()
	p.opened = &openDevice{Device: d, release: sync.OnceFunc(func() { b.release(p) })}
	b.signal()
	return p.opened, nil
}

// port returns the port with a bus ID, of which the list may still be unknown.
func (b *Bus) port(id string) (*port, error) {
	if !busID.MatchString(id) {
		return nil, fmt.Errorf("USB/IP device %q: %w", id, usb.ErrNotFound)
	}
	_, err := b.Devices()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch p := b.ports[id]; {
	case p != nil:
		return p, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("USB/IP device %s: %w", id, usb.ErrNotFound)
}

// release notes that a device was closed. The server now resets it.
func (b *Bus) release(p *port) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.opened, p.released, p.resetting = nil, time.Now(), true
	b.signal()
}

// importPort imports the device of a port. For a while after its last release, it
// tries again if the server refuses: a server resets a device before it exports it
// again.
func (b *Bus) importPort(ctx context.Context, p *port) (usb.Device, error) {
	b.mu.Lock()
	id, until := p.info.ID, p.released.Add(releaseTimeout)
	b.mu.Unlock()
	again := time.NewTicker(releaseInterval)
	defer again.Stop()
	for {
		d, err := b.importOnce(ctx, id)
		refused := errors.Is(err, usb.ErrInUse) || errors.Is(err, usb.ErrNotFound) || errors.Is(err, usbip.ErrRefused)
		if !refused || time.Now().After(until) {
			return d, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-again.C:
		}
	}
}

func (b *Bus) importOnce(ctx context.Context, id string) (usb.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	conn, err := usbip.Dial(ctx, b.server)
	if err != nil {
		return nil, err
	}
	return usbip.Import(ctx, conn, id)
}
