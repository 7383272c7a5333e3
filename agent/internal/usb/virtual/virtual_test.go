package virtual_test

import (
	"errors"
	"testing"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbtest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newBus returns a bus with a disk and a keyboard, the image of the disk, and
// the keyboard.
func newBus(t *testing.T, c virtual.DiskConfig) (*virtual.Bus, *virtual.Image, *virtual.Keyboard) {
	t.Helper()
	disk, image := virtualtest.Disk(t, virtual.SampleConfig{Size: 8 << 20, Seed: 7}, c)
	keyboard := virtual.NewKeyboard(virtual.KeyboardConfig{})
	return virtualtest.Bus(t, keyboard, disk), image, keyboard
}

// do submits an URB and waits until it is complete.
func do(d usb.Device, u *usb.URB) *usb.URB {
	done := make(chan struct{})
	u.Done = func(*usb.URB) { close(done) }
	d.Submit(u)
	<-done
	return u
}

func TestOpenedDeviceHasDescriptor(t *testing.T) {
	bus, _, _ := newBus(t, virtual.DiskConfig{})
	d := virtualtest.Open(t, bus, "v-disk")
	get := usb.Setup{Type: 0x80, Request: 6, Value: 0x0100, Length: 64}
	u := do(d, &usb.URB{Setup: get.Bytes(), Data: make([]byte, 64)})
	if u.Status != usb.StatusOK || u.Actual != 18 {
		t.Fatalf("device descriptor: status %d, %d bytes", u.Status, u.Actual)
	}
}

func TestContract(t *testing.T) {
	for name, c := range map[string]struct {
		id    string
		speed usb.Speed
	}{
		"HighSpeedDisk":  {"v-disk", usb.SpeedHigh},
		"SuperSpeedDisk": {"v-disk", usb.SpeedSuper},
		"Keyboard":       {"v-keyboard", usb.SpeedUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			usbtest.Run(t, func(t *testing.T) usb.Bus {
				bus, _, _ := newBus(t, virtual.DiskConfig{Speed: c.speed})
				return bus
			}, c.id)
		})
	}
}

// TestCancelDuringUnplug cancels URBs while the unplugged device completes them
// by itself.
func TestCancelDuringUnplug(t *testing.T) {
	for range 200 {
		keyboard := virtual.NewKeyboard(virtual.KeyboardConfig{})
		bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{keyboard}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := bus.Open("v-keyboard", usb.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan usb.Status, 3)
		var all []*usb.URB
		for range cap(done) { // reads that wait for a key
			u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8), Done: func(u *usb.URB) { done <- u.Status }}
			all = append(all, u)
			d.Submit(u)
		}
		unplugged := make(chan error, 1)
		go func() { unplugged <- bus.Unplug("v-keyboard") }()
		<-d.Gone()
		for _, u := range all {
			d.Cancel(u)
		}
		for range all {
			if s := <-done; s != usb.StatusNoDevice && !s.Cancelled() {
				t.Fatalf("status %v", s)
			}
		}
		if err := errors.Join(<-unplugged, d.Close()); err != nil {
			t.Error(err)
		}
	}
}
