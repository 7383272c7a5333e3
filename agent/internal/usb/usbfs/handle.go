//go:build linux

package usbfs

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"golang.org/x/sys/unix"
)

// handle is an open file below /dev/bus/usb and what is claimed through it. It
// is used by one goroutine at a time.
type handle struct {
	fd      int
	dir     string   // in sysfs
	claimed []uint32 // interfaces
	taken   []uint32 // those that kernel drivers lost to us and get back
}

// claim takes every interface of the active configuration from whatever kernel
// driver has it.
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

// release lets go of the interfaces. Errors mean that they are gone anyway.
func (h *handle) release() {
	for _, n := range h.claimed {
		_ = call(h.fd, reqRelease, unsafe.Pointer(&n))
	}
	h.claimed = nil
}

// reconnect lets the kernel's drivers have what they lost. That it finds none
// any more is no error of ours.
func (h *handle) reconnect() {
	for _, n := range h.taken {
		c := driverCall{number: int32(n), code: int32(reqConnect)}
		_ = call(h.fd, reqDriver, unsafe.Pointer(&c))
	}
	h.taken = nil
}

// endpoints returns those that exist now.
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

// change does what a control request would do to the state that the kernel
// keeps of the device.
func (h *handle) change(s usb.Setup) error {
	switch s.Change() {
	case usb.SetConfiguration:
		if s.Value == uint16(activeConfiguration(h.dir)) {
			return nil // setting it again would only cost the device its state
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

// configure selects a configuration, which the kernel refuses while interfaces
// are claimed and follows by binding its drivers.
func (h *handle) configure(value uint32) error {
	h.release()
	h.taken = nil // they belong to the old configuration
	err := call(h.fd, reqSetConfiguration, unsafe.Pointer(&value))
	return errors.Join(err, h.claim())
}

// reset resets the device. The kernel unbinds drivers that cannot cope with a
// reset, usbfs among them, and binds its own afterwards, unless nobody has
// claimed anything.
func (h *handle) reset() error {
	h.release()
	err := call(h.fd, reqReset, nil)
	return errors.Join(err, h.claim())
}

// giveBack undoes claim: the configuration as it was, the device reset, the
// drivers at work again.
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
