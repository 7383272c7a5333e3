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

// claims holds the claimed interfaces of a configuration. While an interface
// changes, no transfer may run on its endpoints.
type claims struct {
	handle     *gousb.Device
	config     *gousb.Config            // nil while nothing is claimed
	interfaces map[int]*gousb.Interface // by number

	// Guarded by mu: index replaces the maps while transfers run on other
	// interfaces.
	mu  sync.Mutex
	in  map[usb.Endpoint]*gousb.InEndpoint
	out map[usb.Endpoint]*gousb.OutEndpoint
}

// endpoint returns the endpoint e of the current settings, as an IN or as an OUT
// endpoint. Both results are nil if it does not exist.
func (c *claims) endpoint(e usb.Endpoint) (*gousb.InEndpoint, *gousb.OutEndpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in[e], c.out[e]
}

// claim claims every interface of a configuration. It unbinds the kernel's
// drivers on systems where libusb supports that.
func claim(h *gousb.Device, configuration int) (*claims, error) {
	c := &claims{handle: h}
	if err := h.SetAutoDetach(true); err != nil && err != gousb.ErrorNotSupported {
		return nil, fmt.Errorf("detaching the kernel's driver: %w", err)
	}
	if err := c.claimAll(configuration); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// claimAll claims all interfaces of a configuration in alternate setting 0.
func (c *claims) claimAll(configuration int) error {
	config, err := c.handle.Config(configuration)
	if err != nil {
		return inUse(fmt.Errorf("configuration %d: %w", configuration, err))
	}
	c.config, c.interfaces = config, make(map[int]*gousb.Interface)
	for i, d := range config.Desc.Interfaces {
		if d.Number != i { // gousb uses the number as an index
			return errors.New("the libusb backend supports only devices whose interfaces have consecutive numbers")
		}
		if err := c.set(d.Number, 0); err != nil {
			return err
		}
	}
	return nil
}

// set claims an interface in an alternate setting. It releases the interface
// first if it is claimed.
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

// inUse wraps usb.ErrInUse around an error that means "busy". gousb does not wrap
// libusb's errors here, so only the text is left.
func inUse(err error) error {
	if strings.Contains(err.Error(), gousb.ErrorBusy.Error()) {
		return fmt.Errorf("%w: another program has claimed it (%w)", usb.ErrInUse, err)
	}
	return err
}

// index rebuilds the maps of endpoints from the claimed interfaces.
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

// release releases all interfaces. libusb then binds the kernel's drivers again.
func (c *claims) release() {
	for _, i := range c.interfaces {
		i.Close()
	}
	c.interfaces = nil
	_ = c.index() // cannot fail without interfaces
	if c.config != nil {
		_ = c.config.Close() // fails only while an interface is claimed
		c.config = nil
	}
}

// configure selects another configuration and claims its interfaces.
func (c *claims) configure(value int) error {
	c.release()
	return c.claimAll(value)
}

// reset resets the port of the device and claims its interfaces again. gousb
// permits a reset only while nothing is claimed.
func (c *claims) reset(configuration int) error {
	c.release()
	if err := c.handle.Reset(); err != nil {
		return err
	}
	return c.claimAll(configuration)
}
