package virtual_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
)

func report(d usb.Device) []byte {
	u := do(d, &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)})
	return u.Data[:u.Actual]
}

func TestTypedTextIsReported(t *testing.T) {
	bus, _, keyboard := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-keyboard")
	typed := make(chan error, 1)
	go func() { typed <- keyboard.Type(t.Context(), "aZ1!/\n") }()
	for _, want := range [][2]byte{{4, 0}, {0x1d, 2}, {0x1e, 0}, {0x1e, 2}, {0x38, 0}, {0x28, 0}} {
		down, up := report(d), report(d)
		if !bytes.Equal(down, []byte{want[1], 0, want[0], 0, 0, 0, 0, 0}) || !bytes.Equal(up, make([]byte, 8)) {
			t.Errorf("reports % x, % x; want usage %#x with modifiers %d", down, up, want[0], want[1])
		}
	}
	if err := <-typed; err != nil {
		t.Error(err)
	}
}

func TestUntypableTextIsRefused(t *testing.T) {
	_, _, keyboard := newBus(t, virtual.DiskConfig{})
	for _, text := range []string{"ä", "\x00", strings.Repeat("a", virtual.MaxText+1)} {
		if err := keyboard.Type(t.Context(), text); err == nil {
			t.Errorf("Type(%.10q) succeeded", text)
		}
	}
}

func TestCancelledKeyIsNotReported(t *testing.T) {
	const tab = 0x2b
	bus, _, keyboard := newBus(t, virtual.DiskConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := keyboard.Press(ctx, virtual.Key{Usage: 4}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Press while the keyboard is not open: %v", err)
	}
	d := virtualtest.Open(t, bus, "v-keyboard")
	pressed := make(chan error, 1)
	go func() { pressed <- keyboard.Press(t.Context(), virtual.Key{Usage: tab}) }()
	if got := report(d); got[2] != tab {
		t.Errorf("first report: % x", got)
	}
	report(d)
	if err := <-pressed; err != nil {
		t.Error(err)
	}
}

func TestKeyboardRequests(t *testing.T) {
	bus, _, keyboard := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-keyboard")
	u := do(d, &usb.URB{Setup: usb.Setup{Type: 0x21, Request: 9, Value: 0x200, Length: 1}.Bytes(), Data: []byte{3}})
	if u.Status != usb.StatusOK || keyboard.LEDs() != 3 {
		t.Errorf("SET_REPORT: status %d, LEDs %d", u.Status, keyboard.LEDs())
	}
	for name, c := range map[string]struct {
		s    usb.Setup
		want []byte
	}{
		"GET_REPORT input":  {usb.Setup{Type: 0xa1, Request: 1, Value: 0x100, Length: 8}, make([]byte, 8)},
		"GET_REPORT output": {usb.Setup{Type: 0xa1, Request: 1, Value: 0x200, Length: 1}, []byte{3}},
		"GET_PROTOCOL":      {usb.Setup{Type: 0xa1, Request: 3, Length: 1}, []byte{1}},
		"GET_IDLE":          {usb.Setup{Type: 0xa1, Request: 2, Length: 1}, []byte{0}},
		"HID descriptor": {
			usb.Setup{Type: 0x81, Request: 6, Value: 0x2100, Length: 9}, []byte{9, 0x21, 0x11, 1, 0, 1, 0x22, 63, 0},
		},
	} {
		u := do(d, &usb.URB{Setup: c.s.Bytes(), Data: make([]byte, c.s.Length)})
		if u.Status != usb.StatusOK || !bytes.Equal(u.Data[:u.Actual], c.want) {
			t.Errorf("%s: status %d, % x, want % x", name, u.Status, u.Data[:u.Actual], c.want)
		}
	}
}

// TestReportRepeatsAtIdleRate expects repeated reports although no key changes.
func TestReportRepeatsAtIdleRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, _, _ := newBus(t, virtual.DiskConfig{})
		d := virtualtest.Open(t, bus, "v-keyboard")
		if s := request(d, usb.Setup{Type: 0x21, Request: 10, Value: 125 << 8}); s != usb.StatusOK {
			t.Fatalf("SET_IDLE: status %d", s)
		}
		begin := time.Now()
		report(d)
		report(d)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("two reports at an idle rate of 500 ms took %v", took)
		}
	})
}

func TestUnplugEndsURBs(t *testing.T) {
	bus, _, keyboard := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-keyboard")
	pending := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}
	done := usb.Start(d, pending)
	if err := bus.Unplug("v-keyboard"); err != nil {
		t.Fatal(err)
	}
	<-done
	<-d.Gone()
	if pending.Status != usb.StatusNoDevice {
		t.Errorf("pending URB: status %d", pending.Status)
	}
	if u := do(d, &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}); u.Status != usb.StatusNoDevice {
		t.Errorf("URB after unplugging: status %d", u.Status)
	}
	if list, err := bus.Devices(); err != nil || len(list) != 1 {
		t.Errorf("still listed: %+v, %v", list, err)
	}
	if err := bus.Unplug("v-keyboard"); !errors.Is(err, usb.ErrNotFound) {
		t.Errorf("unplugged twice: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := bus.Plug(keyboard); err != nil {
		t.Fatal(err)
	}
	if err := bus.Plug(keyboard); err == nil {
		t.Error("plugged in twice")
	}
}

func TestTooManyPendingURBsAreRefused(t *testing.T) {
	bus, _, _ := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-keyboard")
	results := make(chan usb.Status, usb.MaxPending+1)
	for range usb.MaxPending + 1 {
		d.Submit(&usb.URB{Endpoint: 0x81, Data: make([]byte, 8), Done: func(u *usb.URB) { results <- u.Status }})
	}
	if s := <-results; s != usb.StatusNoMemory {
		t.Errorf("one too many: status %d", s)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range usb.MaxPending {
		if s := <-results; s != usb.StatusShutdown {
			t.Fatalf("pending at Close: status %d", s)
		}
	}
}
