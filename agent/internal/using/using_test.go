package using_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/agent/internal/using"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scriptedHost is a session with a host whose devices are made of software. Attach
// returns refusal while it is set.
type scriptedHost struct {
	bus   *virtual.Bus
	lossy bool // its devices are lossyDevices

	mu      sync.Mutex
	refusal error
	wants   int
}

func (h *scriptedHost) Attach(_ context.Context, a tunnel.Attach) (usb.Device, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refusal != nil {
		return nil, h.refusal
	}
	dev, err := h.bus.Open(a.Device, usb.OpenOptions{})
	if err == nil && h.lossy {
		return lossyDevice{dev}, nil
	}
	return dev, err
}

func (h *scriptedHost) refuse(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusal = err
}

func (h *scriptedHost) want(ident.PeerID) (using.Session, func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wants++
	return h, sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.wants--
	}), nil
}

// machine uses devices of the host "workshop". All of it runs in virtual time.
type machine struct {
	*using.Manager
	host     *scriptedHost
	store    *state.Store
	workshop ident.PeerID
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	disk := newDisk(t)
	keyboard := virtual.NewKeyboard(virtual.KeyboardConfig{})
	bus := virtualtest.Bus(t, disk, keyboard)
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := state.Peer{ID: key.ID(), PublicKey: key.Public(), Name: "workshop", PairedAt: time.Now()}
	if _, err := store.AddPeer(p); err != nil {
		t.Fatal(err)
	}
	m := &machine{host: &scriptedHost{bus: bus}, store: store, workshop: p.ID}
	m.Manager, err = using.New(using.Config{
		Store: store, Want: m.host.want, Kernel: noVHCI{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newDisk(t *testing.T) *virtual.Disk {
	t.Helper()
	disk, _ := virtualtest.Disk(t, virtual.SampleConfig{Size: 4 << 20}, virtual.DiskConfig{})
	return disk
}

// use stores a use of a device on the loopback server.
func (m *machine) use(t *testing.T, device string) state.Use {
	t.Helper()
	use := state.Use{Peer: m.workshop, Device: device, Mode: state.ModeEndpoint}
	if err := m.store.PutUse(use); err != nil {
		t.Fatal(err)
	}
	return use
}

// release removes a use from the store. It returns what its end reports.
func (m *machine) release(t *testing.T, device string) error {
	t.Helper()
	await := m.Released(using.Key{Peer: m.workshop, Device: device})
	if err := m.store.RemoveUse(m.workshop, device); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // a use that is not attached has ended now
	return await(t.Context())
}

// run runs a machine in virtual time. In the end no session must be wanted.
func run(t *testing.T, f func(t *testing.T, m *machine)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		synctest.Wait()
		f(t, m)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if m.host.wants != 0 {
			t.Errorf("%d sessions are still wanted", m.host.wants)
		}
		if err := m.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestExportedDeviceHasOneClientAtATime(t *testing.T) {
	run(t, func(t *testing.T, m *machine) {
		disk, keyboard := m.use(t, "v-disk"), m.use(t, "v-keyboard")
		for _, use := range []state.Use{disk, keyboard} {
			got, err := m.AwaitAttached(t.Context(), use)
			if err != nil || got.Phase != using.Attached || got.BusID == "" {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		list := m.Exports()
		if len(list) != 2 || list[0].ID == list[1].ID || list[0].DeviceNumber == list[1].DeviceNumber {
			t.Fatalf("exported: %+v", list)
		}
		diskID := list[0].ID
		dev, err := m.Import(diskID)
		if err != nil || dev.Info().ID != diskID {
			t.Fatalf("Import: %v", err)
		}
		if _, err := m.Import(diskID); !errors.Is(err, usb.ErrInUse) {
			t.Errorf("a second client imports the device: %v", err)
		}
		dev.Close()
		if _, err = m.Import(diskID); err != nil {
			t.Fatalf("a client imports the device after the first one closed it: %v", err)
		}
		if _, err := m.Import("9-9"); !errors.Is(err, usb.ErrNotFound) {
			t.Errorf("a client imports an unknown device: %v", err)
		}
		if err := m.release(t, "v-disk"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if list := m.Exports(); len(list) != 1 {
			t.Errorf("exported after the release: %+v", list)
		}
	})
}

// noVHCI is a kernel without the vhci_hcd module.
type noVHCI struct{}

func (noVHCI) Find() error                                { return usbip.ErrNoVHCI }
func (noVHCI) Plug(usb.Device) (*usbip.Attachment, error) { panic("Plug without a controller") }

func TestUseFailsWithoutVHCI(t *testing.T) {
	run(t, func(t *testing.T, m *machine) {
		use := state.Use{Peer: m.workshop, Device: "v-disk", Mode: state.ModeVHCI}
		if err := m.store.PutUse(use); err != nil {
			t.Fatal(err)
		}
		if _, err := m.AwaitAttached(t.Context(), use); !errors.Is(err, usbip.ErrNoVHCI) {
			t.Errorf("AwaitAttached: %v, want %v", err, usbip.ErrNoVHCI)
		}
		if m.host.wants != 0 {
			t.Error("the agent contacts the host for a device that this machine cannot attach")
		}
	})
}

func TestRefusedUseIsTriedAgain(t *testing.T) {
	run(t, func(t *testing.T, m *machine) {
		m.host.refuse(usb.ErrInUse)
		use := m.use(t, "v-disk")
		if _, err := m.AwaitAttached(t.Context(), use); !errors.Is(err, usb.ErrInUse) {
			t.Errorf("AwaitAttached: %v, want %v", err, usb.ErrInUse)
		}
		m.host.refuse(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if list := m.List(); len(list) != 1 || list[0].Phase != using.Attached || list[0].Reason != nil {
			t.Errorf("after a minute: %+v", list)
		}
	})
}

func TestNewDeviceListEndsTheWait(t *testing.T) {
	run(t, func(t *testing.T, m *machine) {
		phase := func() using.Phase {
			synctest.Wait()
			return m.List()[0].Phase
		}
		m.host.refuse(usb.ErrInUse)
		m.use(t, "v-disk")
		synctest.Wait()
		time.Sleep(62 * time.Second) // tries follow after 0, 1, 3, 7, 15, 30, 45, 60 and 75 s
		m.PeerDevicesChanged(m.workshop)
		if p := phase(); p != using.Waiting {
			t.Errorf("refused again: %s", p)
		}
		m.host.refuse(nil)
		m.PeerDevicesChanged(ident.PeerID{2})
		time.Sleep(500 * time.Millisecond)
		if p := phase(); p != using.Waiting {
			t.Errorf("after a new list of another peer: %s", p)
		}
		m.PeerDevicesChanged(m.workshop) // less than a second after the last try
		if p := phase(); p != using.Waiting {
			t.Errorf("half a second after the last try: %s", p)
		}
		time.Sleep(500 * time.Millisecond)
		if p := phase(); p != using.Attached {
			t.Errorf("a second after the last try: %s", p)
		}
	})
}

// loseDisk uses the host's disk and unplugs it.
func (m *machine) loseDisk(t *testing.T) {
	t.Helper()
	if _, err := m.AwaitAttached(t.Context(), m.use(t, "v-disk")); err != nil {
		t.Fatal(err)
	}
	m.host.refuse(usb.ErrNotFound)
	if err := m.host.bus.Unplug("v-disk"); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestReplacedDeviceIsAttachedAgain(t *testing.T) {
	run(t, func(t *testing.T, m *machine) {
		m.loseDisk(t)
		list := m.List()
		if len(list) != 1 || list[0].Phase != using.Waiting || list[0].BusID != "" || len(m.Exports()) != 0 {
			t.Errorf("after the device was unplugged: %+v", list)
		}
		if err := m.host.bus.Plug(newDisk(t)); err != nil {
			t.Fatal(err)
		}
		m.host.refuse(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if list := m.List(); list[0].Phase != using.Attached {
			t.Errorf("after the device was plugged in again: %+v", list)
		}
	})
}

// lossyDevice is a device that reports at its end that it lacks data.
type lossyDevice struct{ usb.Device }

func (d lossyDevice) Close() error { return errors.Join(d.Device.Close(), stage.ErrLost) }

func TestReleaseReportsAnEarlierLoss(t *testing.T) {
	run(t, func(t *testing.T, m *machine) {
		m.host.lossy = true
		m.loseDisk(t)
		if err := m.release(t, "v-disk"); !errors.Is(err, stage.ErrLost) {
			t.Errorf("the release of the waiting use: %v, want %v", err, stage.ErrLost)
		}
	})
}
