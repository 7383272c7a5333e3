package using_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/agent/internal/using"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

var workshop = ident.PeerID{1}

// far is a session with a host whose devices are software. It is refused while
// refuse is set.
type far struct {
	bus *virtual.Bus

	mu     sync.Mutex
	refuse error
	wanted int
}

func (f *far) Attach(_ context.Context, a tunnel.Attach) (usb.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	return f.bus.Open(a.Device, usb.OpenOptions{})
}

func (f *far) set(refuse error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

// desk is a Using, what it is to use, and the far end. Everything of it lives in
// the test's bubble.
type desk struct {
	*using.Using
	far  *far
	mu   sync.Mutex
	uses []state.Use
}

func newDesk(t *testing.T, uses ...state.Use) *desk {
	t.Helper()
	image, err := virtual.NewSample(virtual.SampleConfig{Size: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	disk, err := virtual.NewDisk(virtual.DiskConfig{Store: image, Size: image.Size()})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{disk, virtual.NewKeyboard(virtual.KeyboardConfig{})}})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{far: &far{bus: bus}, uses: uses}
	d.Using, err = using.New(using.Config{
		Uses: func() []state.Use {
			d.mu.Lock()
			defer d.mu.Unlock()
			return slices.Clone(d.uses)
		},
		Want: func(ident.PeerID) (using.Session, func(), error) {
			d.far.mu.Lock()
			defer d.far.mu.Unlock()
			d.far.wanted++
			return d.far, sync.OnceFunc(func() {
				d.far.mu.Lock()
				defer d.far.mu.Unlock()
				d.far.wanted--
			}), nil
		},
		Kernel: noVHCI{},
		Logger: slog.New(slog.DiscardHandler), Changed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) want(uses ...state.Use) {
	d.mu.Lock()
	d.uses = uses
	d.mu.Unlock()
	d.Poke()
}

// run runs the test's desk in virtual time, and wants every session let go in
// the end.
func run(t *testing.T, f func(t *testing.T, d *desk), uses ...state.Use) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, uses...)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		f(t, d)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if d.far.wanted != 0 {
			t.Errorf("%d sessions are still wanted", d.far.wanted)
		}
	})
}

func endpoint(device string) state.Use {
	return state.Use{Peer: workshop, Device: device, Mode: state.ModeEndpoint}
}

func TestAnEndpointLendsToOneClientAtATime(t *testing.T) {
	disk, keyboard := endpoint("v-disk"), endpoint("v-keyboard")
	run(t, func(t *testing.T, d *desk) {
		for _, use := range []state.Use{disk, keyboard} {
			if got, err := d.Await(t.Context(), use); err != nil || got.Phase != using.Attached || got.BusID == "" {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		list := d.Exports()
		if len(list) != 2 || list[0].ID == list[1].ID || list[0].DeviceNumber == list[1].DeviceNumber {
			t.Fatalf("offered: %+v", list)
		}
		dev, err := d.Import(list[0].ID)
		if err != nil || dev.Info().ID != list[0].ID {
			t.Fatalf("%v", err)
		}
		if _, err := d.Import(list[0].ID); !errors.Is(err, usb.ErrInUse) {
			t.Errorf("a second client: %v", err)
		}
		dev.Close()
		if dev, err = d.Import(list[0].ID); err != nil {
			t.Fatalf("after the first client: %v", err)
		}
		if _, err := d.Import("9-9"); !errors.Is(err, usb.ErrNotFound) {
			t.Errorf("an unknown device: %v", err)
		}
		d.want(keyboard)
		if err := d.AwaitEnd(t.Context(), using.Key{Peer: workshop, Device: "v-disk"}); err != nil {
			t.Fatal(err)
		}
		<-dev.Gone()
		if list := d.Exports(); len(list) != 1 {
			t.Errorf("offered after the release: %+v", list)
		}
	}, disk, keyboard)
}

type noVHCI struct{}

func (noVHCI) Find() error { return usbip.ErrNoVHCI }
func (noVHCI) Plug(usb.Device) (*usbip.Attachment, error) {
	panic("plugged where there is no controller")
}

func TestWithoutVHCIAUseFailsAndSaysWhatToDo(t *testing.T) {
	use := state.Use{Peer: workshop, Device: "v-disk", Mode: state.ModeVHCI}
	run(t, func(t *testing.T, d *desk) {
		if _, err := d.Await(t.Context(), use); !errors.Is(err, usbip.ErrNoVHCI) {
			t.Errorf("%v", err)
		}
		if d.far.wanted != 0 {
			t.Error("the host is bothered for a device that this machine cannot have")
		}
	}, use)
}

func TestARefusedUseIsTriedAgain(t *testing.T) {
	use := endpoint("v-disk")
	run(t, func(t *testing.T, d *desk) {
		d.far.set(usb.ErrInUse)
		d.want(use)
		if _, err := d.Await(t.Context(), use); !errors.Is(err, usb.ErrInUse) {
			t.Errorf("%v", err)
		}
		d.far.set(nil)
		<-time.After(time.Minute)
		synctest.Wait()
		if list := d.List(); len(list) != 1 || list[0].Phase != using.Attached || list[0].Reason != nil {
			t.Errorf("after a minute: %+v", list)
		}
	})
}

func TestNewsOfTheHostEndTheWait(t *testing.T) {
	use := endpoint("v-disk")
	run(t, func(t *testing.T, d *desk) {
		phase := func() using.Phase {
			synctest.Wait()
			return d.List()[0].Phase
		}
		d.far.set(usb.ErrInUse)
		d.want(use)
		<-time.After(62 * time.Second) // it is tried after 0, 1, 3, 7, 15, 30, 45, 60 and 75 s
		d.News(workshop)
		if p := phase(); p != using.Waiting {
			t.Errorf("refused again: %s", p)
		}
		d.far.set(nil)
		d.News(ident.PeerID{2})
		<-time.After(500 * time.Millisecond)
		if p := phase(); p != using.Waiting {
			t.Errorf("after news of another peer: %s", p)
		}
		d.News(workshop) // not so soon after the last try
		if p := phase(); p != using.Waiting {
			t.Errorf("half a second after the last try: %s", p)
		}
		<-time.After(500 * time.Millisecond)
		if p := phase(); p != using.Attached {
			t.Errorf("a second after the last try: %s", p)
		}
	})
}

func TestAnUnpluggedDeviceIsTakenAgainWhenItIsBack(t *testing.T) {
	use := endpoint("v-disk")
	run(t, func(t *testing.T, d *desk) {
		if _, err := d.Await(t.Context(), use); err != nil {
			t.Fatal(err)
		}
		d.far.set(usb.ErrNotFound)
		if err := d.far.bus.Unplug("v-disk"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if list := d.List(); len(list) != 1 || list[0].Phase != using.Waiting || list[0].BusID != "" || len(d.Exports()) != 0 {
			t.Errorf("unplugged: %+v", list)
		}
		image, err := virtual.NewSample(virtual.SampleConfig{Size: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		again, err := virtual.NewDisk(virtual.DiskConfig{Store: image, Size: image.Size()})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.far.bus.Plug(again); err != nil {
			t.Fatal(err)
		}
		d.far.set(nil)
		<-time.After(time.Minute)
		synctest.Wait()
		if list := d.List(); list[0].Phase != using.Attached {
			t.Errorf("plugged in again: %+v", list)
		}
	}, use)
}
