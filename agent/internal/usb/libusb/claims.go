//go:build libusb

package libusb

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/google/gousb"
)

// claims are the interfaces of a configuration, claimed. Nothing may be at
// work on an interface's endpoints while it changes.
type claims struct {
	handle     *gousb.Device
	config     *gousb.Config // nil while nothing is claimed
	interfaces map[int]*gousb.Interface

	mu  sync.Mutex // the maps are replaced while other interfaces are at work
	in  map[usb.Endpoint]*gousb.InEndpoint
	out map[usb.Endpoint]*gousb.OutEndpoint
}

// endpoint returns one of the current settings: in or out, or neither.
func (c *claims) endpoint(e usb.Endpoint) (*gousb.InEndpoint, *gousb.OutEndpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in[e], c.out[e]
}

// claim takes every interface of a configuration from the kernel's drivers,
// where there are any.
func claim(h *gousb.Device, configuration int) (*claims, error) {
	c := &claims{handle: h}
	if err := h.SetAutoDetach(true); err != nil && err != gousb.ErrorNotSupported {
		return nil, fmt.Errorf("taking it from the kernel's driver: %w", err)
	}
	if err := c.all(configuration); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// all claims a configuration's interfaces in alternate setting 0.
func (c *claims) all(configuration int) error {
	config, err := c.handle.Config(configuration)
	if err != nil {
		return inUse(fmt.Errorf("configuration %d: %w", configuration, err))
	}
	c.config, c.interfaces = config, make(map[int]*gousb.Interface)
	for i, d := range config.Desc.Interfaces {
		if d.Number != i { // gousb takes the one for the other
			return fmt.Errorf("interfaces that are not numbered one after the other cannot be used through libusb")
		}
		if err := c.set(d.Number, 0); err != nil {
			return err
		}
	}
	return nil
}

// set claims an interface in an alternate setting, letting go of it first.
func (c *claims) set(number, alternate int) error {
	if old := c.interfaces[number]; old != nil {
		old.Close()
		delete(c.interfaces, number)
	}
	claimed, err := c.config.Interface(number, alternate)
	if err == nil {
		c.interfaces[number] = claimed
	} else {
		err = inUse(fmt.Errorf("interface %d: %w", number, err))
	}
	return errors.Join(err, c.index())
}

// inUse tells apart what gousb has made text of.
func inUse(err error) error {
	if strings.Contains(err.Error(), gousb.ErrorBusy.Error()) {
		return fmt.Errorf("%w: another program has claimed it (%w)", usb.ErrInUse, err)
	}
	return err
}

// index finds the endpoints of the settings.
func (c *claims) index() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in, c.out = make(map[usb.Endpoint]*gousb.InEndpoint), make(map[usb.Endpoint]*gousb.OutEndpoint)
	for _, i := range c.interfaces {
		for _, e := range i.Setting.Endpoints {
			if e.TransferType != gousb.TransferTypeBulk && e.TransferType != gousb.TransferTypeInterrupt {
				continue
			}
			var err error
			if e.Direction == gousb.EndpointDirectionIn {
				c.in[usb.Endpoint(e.Address)], err = i.InEndpoint(e.Number)
			} else {
				c.out[usb.Endpoint(e.Address)], err = i.OutEndpoint(e.Number)
			}
			if err != nil {
				return fmt.Errorf("endpoint %v: %w", e.Address, err)
			}
		}
	}
	return nil
}

// release lets go of everything; the kernel's drivers take over.
func (c *claims) release() {
	for _, i := range c.interfaces {
		i.Close()
	}
	c.interfaces = nil
	_ = c.index() // of nothing
	if c.config != nil {
		_ = c.config.Close() // fails only while an interface is claimed
		c.config = nil
	}
}

// configure selects another configuration.
func (c *claims) configure(value int) error {
	c.release()
	return c.all(value)
}

// reset resets the device's port, which gousb permits while nothing is claimed.
func (c *claims) reset(configuration int) error {
	c.release()
	if err := c.handle.Reset(); err != nil {
		return err
	}
	return c.all(configuration)
}
