//go:build linux

package usbfs

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"golang.org/x/sys/unix"
)

// handle is an open device node together with the interfaces claimed through it.
// Only one goroutine may use it at a time.
type handle struct {
	fd      int      // of the node below /dev/bus/usb
	dir     string   // of the device in sysfs
	claimed []uint32 // numbers of the claimed interfaces
	taken   []uint32 // numbers of the interfaces that had a kernel driver before
}

// claim claims every interface of the active configuration and unbinds the
// kernel's drivers from them. It fails with EBUSY if another program has claimed
// an interface through usbfs.
func (h *handle) claim() error {
	settings, err := readSettings(h.dir)
	if err != nil {
		return fmt.Errorf("interfaces: %w", err)
	}
	for _, s := range settings {
		c := disconnect{number: uint32(s.number), flags: exceptDriver}
		copy(c.driver[:], "usbfs")
		if err := call(h.fd, reqDisconnectClaim, unsafe.Pointer(&c)); err != nil {
			return fmt.Errorf("claiming interface %d: %w", s.number, err)
		}
		h.claimed = append(h.claimed, c.number)
		if s.driver != "" {
			h.taken = append(h.taken, c.number)
		}
	}
	return nil
}

// release releases the claimed interfaces. It ignores errors, which mean that
// the device is gone.
func (h *handle) release() {
	for _, n := range h.claimed {
		_ = call(h.fd, reqRelease, unsafe.Pointer(&n))
	}
	h.claimed = nil
}

// reconnect asks the kernel to bind its drivers to the interfaces that had one
// before. It ignores errors: the kernel may have no driver any more.
func (h *handle) reconnect() {
	for _, n := range h.taken {
		c := driverCall{number: int32(n), code: int32(reqConnect)}
		_ = call(h.fd, reqDriver, unsafe.Pointer(&c))
	}
	h.taken = nil
}

// endpoints returns the endpoints that exist in the current configuration and
// alternate settings.
func (h *handle) endpoints(d usb.Descriptors) (map[usb.Endpoint]usb.EndpointDescriptor, error) {
	settings, err := readSettings(h.dir)
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	alternates := make(map[uint8]uint8)
	for _, s := range settings {
		alternates[s.number] = s.alternate
	}
	c, _ := d.Configuration(activeConfiguration(h.dir))
	return c.Endpoints(alternates), nil
}

// change performs a request whose [usb.Setup.Change] is not NoChange, through
// the kernel, which keeps a copy of the state that the request changes.
func (h *handle) change(s usb.Setup) error {
	switch s.Change() {
	case usb.SetConfiguration:
		if s.Value == uint16(activeConfiguration(h.dir)) {
			return nil // the kernel would reset the device's state for nothing
		}
		return h.configure(uint32(s.Value))
	case usb.SetInterface:
		c := setInterface{number: uint32(s.Index), alternate: uint32(s.Value)}
		return call(h.fd, reqSetInterface, unsafe.Pointer(&c))
	case usb.ClearHalt:
		endpoint := uint32(s.Index)
		return call(h.fd, reqClearHalt, unsafe.Pointer(&endpoint))
	case usb.PortReset:
		return h.reset()
	}
	return unix.EINVAL
}

// configure selects a configuration. The kernel refuses that while interfaces
// are claimed, and binds its drivers afterwards. Therefore configure releases
// the interfaces before and claims the new ones after.
func (h *handle) configure(value uint32) error {
	h.release()
	h.taken = nil // the numbers refer to the old configuration
	err := call(h.fd, reqSetConfiguration, unsafe.Pointer(&value))
	return errors.Join(err, h.claim())
}

// reset resets the device and claims its interfaces again. They are released
// during the reset: the kernel would unbind usbfs from claimed interfaces and
// bind its own drivers to them.
func (h *handle) reset() error {
	h.release()
	err := call(h.fd, reqReset, nil)
	return errors.Join(err, h.claim())
}

// giveBack returns the device to the kernel: it restores the configuration,
// resets the device, binds the kernel's drivers and closes the node. configuration
// is the one that was active when the device was opened.
func (h *handle) giveBack(configuration uint8) error {
	taken := h.taken
	h.release()
	if active := activeConfiguration(h.dir); active != configuration {
		value := uint32(configuration)
		_ = call(h.fd, reqSetConfiguration, unsafe.Pointer(&value)) // the kernel binds its drivers itself
	}
	_ = call(h.fd, reqReset, nil)
	h.taken = taken
	h.reconnect()
	return unix.Close(h.fd)
}
