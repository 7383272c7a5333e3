package usbip_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	imported "github.com/easyfind-usb/easyfind/agent/internal/usb/usbip"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/usbtest"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pollInterval is short, so that tests notice changes soon.
const pollInterval = 5 * time.Millisecond

// exporter exports all devices of a bus that are free, as a stock server does.
type exporter struct{ usb.Bus }

func (e exporter) Exports() []usb.Info {
	all, _ := e.Devices()
	return slices.DeleteFunc(all, func(i usb.Info) bool { return i.InUse != "" })
}

func (e exporter) Import(busID string) (usb.Device, error) { return e.Open(busID, usb.OpenOptions{}) }

// server is a USB/IP server on loopback that exports a disk and a keyboard.
type server struct {
	addr string
	bus  *virtual.Bus
	stop func() // ends the server
}

func newServer(t *testing.T, speed usb.Speed) *server {
	t.Helper()
	disk, _ := virtualtest.Disk(t, virtual.SampleConfig{Size: 4 << 20}, virtual.DiskConfig{Speed: speed})
	s := &server{bus: virtualtest.Bus(t, disk, virtual.NewKeyboard(virtual.KeyboardConfig{}))}
	s.start(t, "127.0.0.1:0")
	return s
}

// start starts the server at an address.
func (s *server) start(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	s.stop = serve(t, ln, exporter{s.bus})
}

// serve runs a server until the test ends or stop is called.
func serve(t *testing.T, ln net.Listener, e usbip.Exporter) (stop func()) {
	t.Helper()
	run, err := usbip.NewServer(usbip.ServerConfig{
		Listener: ln, Exporter: e, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- run.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// importBus returns the bus of the server.
func (s *server) importBus(t *testing.T) *imported.Bus {
	t.Helper()
	bus, err := imported.New(imported.Config{Server: s.addr, PollInterval: pollInterval})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func TestContract(t *testing.T) {
	for name, c := range map[string]struct {
		id    string
		speed usb.Speed
	}{
		"HighSpeedDisk":  {"v-disk", usb.SpeedHigh},
		"SuperSpeedDisk": {"v-disk", usb.SpeedSuper},
		"Keyboard":       {"v-keyboard", usb.SpeedHigh},
	} {
		t.Run(name, func(t *testing.T) {
			usbtest.Run(t, func(t *testing.T) usb.Bus { return newServer(t, c.speed).importBus(t) }, c.id)
		})
	}
}

// deviceVariable is the name of the environment variable with the bus ID of a device
// that a stock server on this machine exports and that the tests may open.
const deviceVariable = "EASYFIND_TEST_USB_DEVICE"

func TestContractWithStockServer(t *testing.T) {
	id := os.Getenv(deviceVariable)
	if id == "" {
		t.Skip("set " + deviceVariable + " to the bus ID of a device, such as 1-2, that usbipd on this machine exports")
	}
	usbtest.Run(t, func(t *testing.T) usb.Bus {
		bus, err := imported.New(imported.Config{Server: "127.0.0.1:3240"})
		if err != nil {
			t.Fatal(err)
		}
		return bus
	}, id)
}

// watch runs Watch and returns a function that returns the IDs of the free devices
// with descriptors.
func watch(t *testing.T, bus usb.Bus) (free func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var list []usb.Info
	ended := make(chan error)
	go func() {
		ended <- bus.Watch(ctx, func() {
			now, _ := bus.Devices()
			mu.Lock()
			defer mu.Unlock()
			list = now
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		var ids []string
		for _, i := range list {
			if i.InUse == "" && len(i.Descriptors) > 0 {
				ids = append(ids, i.ID)
			}
		}
		return strings.Join(ids, " ")
	}
}

func TestDevicesComeAndGo(t *testing.T) {
	s := newServer(t, usb.SpeedHigh)
	free := watch(t, s.importBus(t))
	become := func(want string) {
		t.Helper()
		waittest.Until(t, "free devices: "+want, func() bool { return free() == want })
	}
	become("v-disk v-keyboard")
	if err := s.bus.Unplug("v-keyboard"); err != nil {
		t.Fatal(err)
	}
	become("v-disk")
	if err := s.bus.Plug(virtual.NewKeyboard(virtual.KeyboardConfig{})); err != nil {
		t.Fatal(err)
	}
	become("v-disk v-keyboard")
	other, err := s.bus.Open("v-disk", usb.OpenOptions{}) // in use by the server's machine
	if err != nil {
		t.Fatal(err)
	}
	become("v-keyboard")
	other.Close()
	become("v-disk v-keyboard")
}

// TestDeviceIsGoneWithItsServer ends the server while a device is open. The device
// must be gone, and must be usable again once the server is back.
func TestDeviceIsGoneWithItsServer(t *testing.T) {
	s := newServer(t, usb.SpeedHigh)
	bus := s.importBus(t)
	free := watch(t, bus)
	d, err := bus.Open("v-keyboard", usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u := &usb.URB{Endpoint: 0x81, Data: make([]byte, 8)}
	done := usb.Start(d, u)
	s.stop()
	<-d.Gone()
	<-done
	if u.Status != usb.StatusNoDevice {
		t.Errorf("status %d of an URB when the server ended, want %d", u.Status, usb.StatusNoDevice)
	}
	waittest.Until(t, "no devices without a server", func() bool {
		list, err := bus.Devices()
		return err != nil && len(list) == 0
	})
	s.start(t, s.addr)
	waittest.Until(t, "the devices of the new server", func() bool { return free() == "v-disk v-keyboard" })
	again, err := bus.Open("v-keyboard", usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	d.Close()
}

// TestDeviceOfAnotherClientIsInUse has a server that also lists devices in use. It
// expects the reason in the list and in the error of Open.
func TestDeviceOfAnotherClientIsInUse(t *testing.T) {
	s := newServer(t, usb.SpeedHigh)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.bus.Open("v-disk", usb.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	list, _ := s.bus.Devices()
	s.addr = ln.Addr().String()
	serve(t, ln, otherList{exporter{s.bus}, list})
	bus := s.importBus(t)
	if list, err = bus.Devices(); err != nil || len(list) != 2 || !strings.Contains(list[0].InUse, "another") {
		t.Errorf("%+v, %v; want the reason why v-disk is in use", list, err)
	}
	if _, err := bus.Open("v-disk", usb.OpenOptions{Force: true}); !errors.Is(err, usb.ErrInUse) {
		t.Errorf("Open: %v, want ErrInUse", err)
	}
}

// TestUnusableBusIDsAreNotListed has a server that names its devices so that they
// could be taken for something else.
func TestUnusableBusIDsAreNotListed(t *testing.T) {
	s := newServer(t, usb.SpeedHigh)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var hostile []usb.Info
	for _, id := range []string{"", "..", "../1-1", "1-1\n", "\x1b[31m", "-r", "a b"} {
		hostile = append(hostile, usb.Info{ID: id, Class: 9})
	}
	serve(t, ln, otherList{exporter{s.bus}, hostile})
	bus, err := imported.New(imported.Config{Server: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := bus.Devices(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v; want no devices", list, err)
	}
}

// otherList is an exporter that lists other devices.
type otherList struct {
	exporter
	list []usb.Info
}

func (r otherList) Exports() []usb.Info { return r.list }

// TestSilentServer has a server that accepts connections and sends nothing.
func TestSilentServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	bus, err := imported.New(imported.Config{Server: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- bus.Watch(ctx, func() {}) }()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Watch: %v", err)
	}
}
