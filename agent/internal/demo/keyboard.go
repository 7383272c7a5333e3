package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
)

// readKeyboard reads the keyboard of the workshop on the laptop, through its USB/IP
// endpoint. The keyboard types by itself.
func (d *Demo) readKeyboard(ctx context.Context) error {
	u, err := useOf(ctx, d.client, keyboardID)
	if err != nil {
		return err
	}
	dev, err := importDevice(ctx, u)
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, d.processes.stepTimeout, "the keys")
	defer cancel()
	f := &d.found.Keyboard
	f.Typed = virtual.SampleGreeting
	f.Arrived, f.Reports, err = readKeys(ctx, dev, len(f.Typed))
	if err := errors.Join(err, dev.Close()); err != nil {
		return err
	}
	d.printf("It types a greeting when it is opened. %d reports of its interrupt endpoint arrived, one for each",
		f.Reports)
	d.printf("key that was pressed or released:")
	d.printf("  %s", f.Arrived)
	return d.check("the typed keys arrived unchanged", f.Arrived == f.Typed,
		"%q was typed, %q arrived", f.Typed, f.Arrived)
}

// reportLength is the length of a boot keyboard's report in bytes ("Device Class
// Definition for HID", 1.11, appendix B.1): modifiers, a reserved byte, six keys.
const reportLength = 8

// readKeys reads reports until a number of keys have been pressed and all keys are
// released. It returns the text that the keys write.
func readKeys(ctx context.Context, dev usb.Device, presses int) (text string, reports int, err error) {
	from, err := interruptIn(dev.Info())
	if err != nil {
		return "", 0, err
	}
	var arrived strings.Builder
	var before [reportLength]byte
	for pressed := 0; pressed < presses || before != [reportLength]byte{}; {
		u := &usb.URB{Endpoint: from.Address, Data: make([]byte, reportLength), Interval: int32(from.Interval)}
		status := usb.Do(ctx, dev, u)
		switch {
		case ctx.Err() != nil:
			return arrived.String(), reports, fmt.Errorf("%w; %q arrived so far", context.Cause(ctx), arrived.String())
		case status != usb.StatusOK || u.Actual != reportLength:
			err := fmt.Errorf("report of the keyboard: USB status %d, %d bytes", status, u.Actual)
			return arrived.String(), reports, err
		}
		reports++
		now := [reportLength]byte(u.Data)
		down := newlyPressed(before, now)
		pressed += len(down)
		arrived.WriteString(string(down))
		before = now
	}
	return arrived.String(), reports, nil
}

// interruptIn returns the endpoint that reports keys.
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
	return usb.EndpointDescriptor{}, fmt.Errorf("%s is not a keyboard: it has no interrupt endpoint", info.Name())
}

// plain and shifted are the characters of the usages 0x04 to 0x38 ("HID Usage Tables",
// 1.4, section 10) on a US layout. A key without a character has �.
var (
	plain   = []rune("abcdefghijklmnopqrstuvwxyz1234567890\n��\t -=[]\\�;'`,./")
	shifted = []rune("ABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()\n��\t _+{}|�:\"~<>?")
)

// newlyPressed returns the characters of the keys that are pressed now but were not before.
func newlyPressed(before, now [reportLength]byte) []rune {
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
