package virtual_test

import (
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
)

// nextReport waits for the keyboard's next report.
func nextReport(t *testing.T, d usb.Device) [8]byte {
	t.Helper()
	u := do(d, &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)})
	if u.Status != usb.StatusOK || u.Actual != 8 {
		t.Fatalf("report: status %d, %d bytes", u.Status, u.Actual)
	}
	return [8]byte(u.Data)
}

// TestGreetingRestartsAtEachOpening closes the keyboard in the middle of the
// greeting. After the next opening no key is down, and the greeting starts from
// its first character.
func TestGreetingRestartsAtEachOpening(t *testing.T) {
	keyboard := virtual.NewKeyboard(virtual.KeyboardConfig{Greeting: "Hé!"})
	bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{keyboard}})
	if err != nil {
		t.Fatal(err)
	}
	first := virtualtest.Open(t, bus, "v-keyboard")
	if got, want := nextReport(t, first), ([8]byte{virtual.ModShift, 0, 0x0b}); got != want {
		t.Errorf("first report % x, want shift and H", got)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := virtualtest.Open(t, bus, "v-keyboard")
	get := usb.Setup{Type: 0xa1, Request: 1, Value: 0x0100, Length: 8}
	u := do(second, &usb.URB{Setup: get.Bytes(), Data: make([]byte, 8)})
	if u.Status != usb.StatusOK || [8]byte(u.Data) != [8]byte{} {
		t.Errorf("keys held down after opening: status %d, % x", u.Status, u.Data)
	}
	for n, want := range [][8]byte{{virtual.ModShift, 0, 0x0b}, {}, {virtual.ModShift, 0, 0x1e}, {}} {
		if got := nextReport(t, second); got != want {
			t.Errorf("report %d: % x, want % x", n, got, want)
		}
	}
	typed := make(chan error, 1)
	go func() { typed <- keyboard.Type(t.Context(), "a") }()
	if got, want := nextReport(t, second), ([8]byte{0, 0, 0x04}); got != want {
		t.Errorf("after the greeting % x, want a", got)
	}
	nextReport(t, second)
	if err := <-typed; err != nil {
		t.Error(err)
	}
}
