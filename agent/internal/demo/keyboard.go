package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
)

// readKeyboard reads what the workshop's keyboard types by itself, at the
// laptop's USB/IP endpoint.
func (d *Demo) readKeyboard(ctx context.Context) error {
	u, err := d.used(ctx, keyboardID)
	if err != nil {
		return err
	}
	dev, err := d.importDevice(ctx, u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %v for the keys", patience))
	defer cancel()
	f := &d.found.Keyboard
	f.Typed = virtual.SampleGreeting
	f.Arrived, f.Reports, err = readKeys(ctx, dev, len(f.Typed))
	if err := errors.Join(err, dev.Close()); err != nil {
		return err
	}
	d.out.say("It greets whoever opens it. %d reports of its interrupt endpoint arrived, each a key going down or up:", f.Reports)
	d.out.say("  %s", f.Arrived)
	return d.check("the keys arrived as they were typed", f.Arrived == f.Typed, "%q was typed, %q arrived", f.Typed, f.Arrived)
}

// reportLength is that of a boot keyboard's report ("Device Class Definition for
// HID", 1.11, appendix B.1): modifiers, a reserved byte, six keys.
const reportLength = 8

// readKeys reads reports until so many keys have been pressed and all are up
// again, and returns what they write.
func readKeys(ctx context.Context, dev usb.Device, presses int) (text string, reports int, err error) {
	from, err := interruptIn(dev.Info())
	if err != nil {
		return "", 0, err
	}
	var typed strings.Builder
	var before [reportLength]byte
	for pressed := 0; pressed < presses || before != [reportLength]byte{}; {
		u := &usb.URB{Endpoint: from.Address, Data: make([]byte, reportLength), Interval: int32(from.Interval)}
		status := usb.Do(ctx, dev, u)
		switch {
		case ctx.Err() != nil:
			return typed.String(), reports, fmt.Errorf("%w; %q arrived so far", context.Cause(ctx), typed.String())
		case status != usb.StatusOK || u.Actual != reportLength:
			return typed.String(), reports, fmt.Errorf("report of the keyboard: USB status %d, %d bytes", status, u.Actual)
		}
		reports++
		now := [reportLength]byte(u.Data)
		down := goneDown(before, now)
		pressed += len(down)
		typed.WriteString(string(down))
		before = now
	}
	return typed.String(), reports, nil
}

// interruptIn finds the endpoint that reports keys.
func interruptIn(info usb.Info) (usb.EndpointDescriptor, error) {
	parsed, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return usb.EndpointDescriptor{}, err
	}
	active, _ := parsed.Configuration(info.Configuration)
	for _, s := range active.Settings {
		for _, e := range s.Endpoints {
			if s.Class == 0x03 && e.Type == usb.Interrupt && e.Address.In() {
				return e, nil
			}
		}
	}
	return usb.EndpointDescriptor{}, fmt.Errorf("%s is no keyboard: it has no interrupt endpoint", info.Name())
}

// plain and shifted are what usages 0x04 to 0x38 ("HID Usage Tables", 1.4,
// section 10) write on a US layout; � where that is no character.
var (
	plain   = []rune("abcdefghijklmnopqrstuvwxyz1234567890\n��\t -=[]\\�;'`,./")
	shifted = []rune("ABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()\n��\t _+{}|�:\"~<>?")
)

// goneDown returns what the keys write that are down now and were not before.
func goneDown(before, now [reportLength]byte) []rune {
	const firstUsage, shiftKeys = 0x04, 0x22 // left and right
	layout := plain
	if now[0]&shiftKeys != 0 {
		layout = shifted
	}
	var written []rune
	for _, usage := range now[2:] {
		if usage < firstUsage || strings.IndexByte(string(before[2:]), usage) >= 0 {
			continue
		}
		if n := int(usage - firstUsage); n < len(layout) {
			written = append(written, layout[n])
		} else {
			written = append(written, '\uFFFD')
		}
	}
	return written
}
