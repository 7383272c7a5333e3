// Package usbtest tests the contract of [usb.Bus] and [usb.Device]. Every
// backend must pass it, with any device.
package usbtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// timeout bounds every wait. It is long enough for the reset of a real device.
const timeout = 20 * time.Second

// Run tests a bus and one device on it. It calls open once for each part of the
// contract. The device may be a disk, whose contents do not change, or a HID
// that nobody touches during the test. Of other devices Run checks fewer
// properties.
func Run(t *testing.T, open func(t *testing.T) usb.Bus, deviceID string) {
	t.Helper()
	for _, part := range []struct {
		name  string
		check func(*testing.T, usb.Bus, string)
	}{
		{"Listing", listing},
		{"Watch", watch},
		{"UnknownDevice", unknownDevice},
		{"OpenTwice", openTwice},
	} {
		t.Run(part.name, func(t *testing.T) { part.check(t, open(t), deviceID) })
	}
	for _, part := range []struct {
		name  string
		check func(*testing.T, usb.Device)
	}{
		{"Descriptors", descriptors},
		{"Strings", stringDescriptors},
		{"ShortRead", shortRead},
		{"StallAndRecovery", stallAndRecovery},
		{"Bounds", bounds},
		{"OrderOfControl", orderOfControl},
		{"StateChanges", stateChanges},
		{"Cancel", cancelPending},
		{"CancelOneOfMany", cancelOneOfMany},
		{"CloseCompletes", closeCompletes},
		{"MassStorage", massStorage},
		{"MassStorageURBsInFlight", massStorageInFlight},
		{"HID", hid},
	} {
		t.Run(part.name, func(t *testing.T) {
			d, err := open(t).Open(deviceID, usb.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := d.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			part.check(t, d)
		})
	}
}

func find(t *testing.T, bus usb.Bus, id string) usb.Info {
	t.Helper()
	list, err := bus.Devices()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(i usb.Info) bool { return i.ID == id })
	if i < 0 {
		t.Fatalf("device %s is not listed", id)
	}
	return list[i]
}

func listing(t *testing.T, bus usb.Bus, id string) {
	list, err := bus.Devices()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(list, func(a, b usb.Info) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("the list is not sorted by ID")
	}
	got := find(t, bus, id)
	d, err := usb.ParseDescriptors(got.Descriptors)
	if err != nil {
		t.Fatal(err)
	}
	want := got
	d.Describe(&want, got.Configuration)
	if got.Vendor != want.Vendor || got.Product != want.Product || got.Release != want.Release ||
		got.Class != want.Class || got.NumConfigurations != want.NumConfigurations ||
		!slices.Equal(got.Interfaces, want.Interfaces) {
		t.Errorf("Info is %+v, but the descriptors say %+v", got, want)
	}
	if got.Backend == "" || got.Speed == usb.SpeedUnknown || got.DeviceNumber == 0 || len(got.Interfaces) == 0 {
		t.Errorf("Info has empty fields: %+v", got)
	}
}

func watch(t *testing.T, bus usb.Bus, _ string) {
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Watch(ctx, func() {
			select {
			case called <- struct{}{}:
			default:
			}
		})
	}()
	wait(t, called, "Watch calls changed once")
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Watch: %v", err)
		}
	case <-time.After(timeout):
		t.Fatal("Watch did not return after its context had ended")
	}
}

func unknownDevice(t *testing.T, bus usb.Bus, _ string) {
	for _, id := range []string{"999-9", "", "..", "../../etc"} {
		if _, err := bus.Open(id, usb.OpenOptions{Force: true}); !errors.Is(err, usb.ErrNotFound) {
			t.Errorf("Open(%q): %v, want ErrNotFound", id, err)
		}
	}
}

func openTwice(t *testing.T, bus usb.Bus, id string) {
	first, err := bus.Open(id, usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if find(t, bus, id).InUse == "" {
		t.Error("an opened device is listed as free")
	}
	for _, force := range []bool{false, true} {
		second, err := bus.Open(id, usb.OpenOptions{Force: force})
		if !errors.Is(err, usb.ErrInUse) {
			t.Errorf("the second Open (force %t): %v, want ErrInUse", force, err)
		}
		if err == nil {
			_ = second.Close()
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := bus.Open(id, usb.OpenOptions{})
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// wait waits until c is closed or receives a value, and fails the test after
// timeout.
func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		t.Fatalf("this did not happen within %v: %s", timeout, what)
	}
}

// do submits an URB and waits until it is complete.
func do(t *testing.T, d usb.Device, u *usb.URB) *usb.URB {
	t.Helper()
	wait(t, usb.Start(d, u), "completion of an URB")
	return u
}

// getDescriptor returns a control URB for GET_DESCRIPTOR with a buffer of room
// bytes. value holds the type and the index of the descriptor.
func getDescriptor(value uint16, room int) *usb.URB {
	s := usb.Setup{Type: 0x80, Request: 6, Value: value, Length: uint16(room)}
	if value>>8 == 3 && value&0xff != 0 {
		s.Index = 0x0409
	}
	return &usb.URB{Setup: s.Bytes(), Data: make([]byte, room)}
}

// alive fails the test unless the device returns its descriptor and Gone is open.
func alive(t *testing.T, d usb.Device) {
	t.Helper()
	u := do(t, d, getDescriptor(0x0100, 18))
	if u.Status != usb.StatusOK || u.Actual != 18 {
		t.Fatalf("device descriptor: status %d, %d bytes", u.Status, u.Actual)
	}
	select {
	case <-d.Gone():
		t.Fatal("Gone is closed although the device is present")
	default:
	}
}

func descriptors(t *testing.T, d usb.Device) {
	info := d.Info()
	want, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		t.Fatal(err)
	}
	u := do(t, d, getDescriptor(0x0100, 18))
	if u.Status != usb.StatusOK || !bytes.Equal(u.Data[:u.Actual], want.Device) {
		t.Errorf("device descriptor: status %d, % x, want % x", u.Status, u.Data[:u.Actual], want.Device)
	}
	for n, c := range want.Configurations {
		u := do(t, d, getDescriptor(0x0200|uint16(n), len(c.Raw)))
		if u.Status != usb.StatusOK || !bytes.Equal(u.Data[:u.Actual], c.Raw) {
			t.Errorf("configuration %d: status %d, % x, want % x", n, u.Status, u.Data[:u.Actual], c.Raw)
		}
	}
}

func stringDescriptors(t *testing.T, d usb.Device) {
	info := d.Info()
	for n, want := range []string{info.Manufacturer, info.ProductName, info.Serial} {
		index := info.Descriptors[14+n]
		if index == 0 || want == "" {
			continue
		}
		u := do(t, d, getDescriptor(0x0300|uint16(index), 255))
		var text []byte
		for i := 2; i+1 < u.Actual; i += 2 {
			text = append(text, u.Data[i]) // the low byte: enough for Latin-1
		}
		if u.Status != usb.StatusOK || string(text) != want {
			t.Errorf("string %d: status %d, %q, want %q", index, u.Status, text, want)
		}
	}
}

func shortRead(t *testing.T, d usb.Device) {
	u := do(t, d, getDescriptor(0x0100, 64))
	if u.Status != usb.StatusOK || u.Actual != 18 {
		t.Errorf("64 bytes of a descriptor of 18: status %d, %d bytes", u.Status, u.Actual)
	}
	u = getDescriptor(0x0100, 64)
	u.Flags = usb.ShortNotOK
	do(t, d, u)
	if u.Status != usb.StatusShortRead || u.Actual != 18 {
		t.Errorf("the same with ShortNotOK: status %d, %d bytes", u.Status, u.Actual)
	}
	u = do(t, d, getDescriptor(0x0100, 8))
	if u.Status != usb.StatusOK || u.Actual != 8 {
		t.Errorf("8 bytes of a descriptor of 18: status %d, %d bytes", u.Status, u.Actual)
	}
}

func stallAndRecovery(t *testing.T, d usb.Device) {
	for range 3 {
		u := do(t, d, getDescriptor(0x3f00, 64)) // no descriptor has this type
		if u.Status != usb.StatusStall || u.Actual != 0 {
			t.Errorf("bad request: status %d, %d bytes, want a stall", u.Status, u.Actual)
		}
		alive(t, d)
	}
}

func bounds(t *testing.T, d usb.Device) {
	for name, u := range map[string]*usb.URB{
		"too long":           {Endpoint: 0x81, Data: make([]byte, usb.MaxTransfer+1)},
		"endpoint 0x7e":      {Endpoint: 0x7e, Data: make([]byte, 8)},
		"undeclared IN":      {Endpoint: undeclared(t, d.Info(), 0x80), Data: make([]byte, 8)},
		"undeclared OUT":     {Endpoint: undeclared(t, d.Info(), 0), Data: make([]byte, 8)},
		"too many packets":   {Endpoint: 0x81, Packets: make([]usb.IsoPacket, usb.MaxPackets+1)},
		"packet after Data":  {Endpoint: 0x81, Data: make([]byte, 8), Packets: []usb.IsoPacket{{Offset: 4, Length: 5}}},
		"data stage missing": {Setup: usb.Setup{Type: 0x00, Request: 7, Length: 8}.Bytes()},
	} {
		if do(t, d, u); u.Status == usb.StatusOK || u.Status.Cancelled() || u.Actual != 0 {
			t.Errorf("%s: status %d, %d bytes", name, u.Status, u.Actual)
		}
	}
	alive(t, d)
}

// undeclared returns an endpoint in the direction (0x80 for IN) that no setting
// of the device has.
func undeclared(t *testing.T, info usb.Info, direction usb.Endpoint) usb.Endpoint {
	t.Helper()
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		t.Fatal(err)
	}
	for n := usb.Endpoint(15); n > 0; n-- {
		sameAddress := func(e usb.EndpointDescriptor) bool { return e.Address == n|direction }
		inSetting := func(s usb.Setting) bool { return slices.ContainsFunc(s.Endpoints, sameAddress) }
		inConfiguration := func(c usb.Configuration) bool { return slices.ContainsFunc(c.Settings, inSetting) }
		if !slices.ContainsFunc(d.Configurations, inConfiguration) {
			return n | direction
		}
	}
	t.Skip("the device has every endpoint")
	return 0
}
