package sharing_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

var ann, ben = ident.PeerID{1}, ident.PeerID{2}

// sessions stands for the sessions with the peers: who cannot be heard, and what
// was opened for whom, which a revocation closes.
type sessions struct {
	mu      sync.Mutex
	lost    map[ident.PeerID]bool
	open    map[ident.PeerID]usb.Device
	revoked []string
}

func (s *sessions) Name(id ident.PeerID) string {
	return map[ident.PeerID]string{ann: "ann", ben: "ben"}[id]
}

func (s *sessions) Lost(id ident.PeerID, _ string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Time{}, s.lost[id]
}

func (s *sessions) Revoke(id ident.PeerID, device, _ string) {
	s.mu.Lock()
	dev := s.open[id]
	delete(s.open, id)
	s.revoked = append(s.revoked, s.Name(id)+" "+device)
	s.mu.Unlock()
	if dev != nil {
		dev.Close()
	}
}

// desk is a Sharing of a software disk, and shares that a test may change.
type desk struct {
	*sharing.Sharing
	sessions *sessions
	mu       sync.Mutex
	shares   []state.Share
}

func newDesk(t *testing.T, shares ...state.Share) *desk {
	t.Helper()
	image, err := virtual.NewSample(virtual.SampleConfig{Size: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	disk, err := virtual.NewDisk(virtual.DiskConfig{Store: image, Size: image.Size()})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{disk}})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{shares: shares, sessions: &sessions{lost: map[ident.PeerID]bool{}, open: map[ident.PeerID]usb.Device{}}}
	d.Sharing, err = sharing.New(sharing.Config{
		Bus: bus, Peers: d.sessions, Logger: slog.New(slog.DiscardHandler), Changed: func() {},
		Shares: func() []state.Share {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.shares
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) set(shares ...state.Share) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shares = shares
}

func (d *desk) take(t *testing.T, peer ident.PeerID, a tunnel.Attach) (usb.Device, error) {
	dev, err := d.For(peer).Open(t.Context(), a)
	if err == nil {
		d.sessions.mu.Lock()
		d.sessions.open[peer] = dev
		d.sessions.mu.Unlock()
		t.Cleanup(func() { dev.Close() })
	}
	return dev, err
}

func TestAPeerSeesAndTakesWhatIsSharedWithIt(t *testing.T) {
	d := newDesk(t, state.Share{Device: "1209:0001", Peers: []ident.PeerID{ann}})
	if devices, err := d.Devices(); err != nil || len(devices) != 1 || !devices[0].Holder.IsZero() {
		t.Fatalf("%+v, %v", devices, err)
	}
	if list := d.For(ben).Devices(); len(list) != 0 {
		t.Errorf("ben sees %+v", list)
	}
	if _, err := d.take(t, ben, tunnel.Attach{Device: "v-disk"}); !errors.Is(err, usb.ErrNotFound) {
		t.Errorf("ben takes it: %v", err)
	}
	list := d.For(ann).Devices()
	if len(list) != 1 || list[0].ID != "v-disk" || list[0].InUseBy != "" {
		t.Fatalf("ann sees %+v", list)
	}
	if _, err := d.take(t, ann, tunnel.Attach{Device: "v-disk", Expect: session.Fingerprint([]byte("another"))}); !errors.Is(err, session.ErrChanged) {
		t.Errorf("a device that has become another one: %v", err)
	}
	if _, err := d.take(t, ann, tunnel.Attach{Device: "v-disk", Expect: session.Fingerprint(list[0].Descriptors)}); err != nil {
		t.Errorf("ann: %v", err)
	}
}

func TestOneHolderAtATime(t *testing.T) {
	d := newDesk(t, state.Share{Device: "v-disk"})
	dev, err := d.take(t, ann, tunnel.Attach{Device: "v-disk"})
	if err != nil {
		t.Fatal(err)
	}
	if list := d.For(ben).Devices(); len(list) != 1 || list[0].InUseBy != "ann" {
		t.Errorf("ben sees %+v", list)
	}
	if _, err := d.take(t, ben, tunnel.Attach{Device: "v-disk"}); !errors.Is(err, usb.ErrInUse) {
		t.Errorf("ben takes what ann has: %v", err)
	}
	dev.Close()
	if _, err := d.take(t, ben, tunnel.Attach{Device: "v-disk"}); err != nil {
		t.Errorf("ben takes what ann gave back: %v", err)
	}
}

func TestAHolderThatCannotBeHeardGivesWay(t *testing.T) {
	d := newDesk(t, state.Share{Device: "v-disk"})
	if _, err := d.take(t, ann, tunnel.Attach{Device: "v-disk"}); err != nil {
		t.Fatal(err)
	}
	d.sessions.lost[ann] = true
	if _, err := d.take(t, ben, tunnel.Attach{Device: "v-disk"}); err != nil {
		t.Errorf("ben takes what a lost ann had: %v", err)
	}
	if devices, _ := d.Devices(); devices[0].Holder != ben {
		t.Errorf("it is held by %s", d.sessions.Name(devices[0].Holder))
	}
}

// TestAPeerThatComesBackWaitsForItself is a client whose agent was restarted: its
// old hold ends only when the host has noticed.
func TestAPeerThatComesBackWaitsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, state.Share{Device: "v-disk"})
		old, err := d.take(t, ann, tunnel.Attach{Device: "v-disk"})
		if err != nil {
			t.Fatal(err)
		}
		took := make(chan error)
		go func() {
			_, err := d.take(t, ann, tunnel.Attach{Device: "v-disk"})
			took <- err
		}()
		synctest.Wait()
		old.Close()
		if err := <-took; err != nil {
			t.Errorf("ann takes her own device again: %v", err)
		}
	})
}

func TestUnsharingTakesBack(t *testing.T) {
	d := newDesk(t, state.Share{Device: "v-disk"})
	if _, err := d.take(t, ann, tunnel.Attach{Device: "v-disk"}); err != nil {
		t.Fatal(err)
	}
	d.Enforce()
	if len(d.sessions.revoked) != 0 {
		t.Errorf("taken back although it is shared: %v", d.sessions.revoked)
	}
	d.set()
	d.Enforce()
	if len(d.sessions.revoked) != 1 || d.sessions.revoked[0] != "ann v-disk" {
		t.Errorf("taken back: %v", d.sessions.revoked)
	}
}

func TestASharesTimeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, state.Share{Device: "v-disk", Until: time.Now().Add(time.Hour)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		synctest.Wait()
		if _, err := d.take(t, ann, tunnel.Attach{Device: "v-disk"}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour + 5*time.Second)
		synctest.Wait()
		if len(d.sessions.revoked) == 0 {
			t.Error("the device was not taken back within 5 s")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSelectors(t *testing.T) {
	i := usb.Info{ID: "2-1", Vendor: 0x0403, Product: 0x60ab, Serial: "A1"}
	for selector, want := range map[string]bool{"2-1": true, "0403:60ab": true, "0403:60AB": true, "A1": true, "": false, "2-1.1": false, "403:60ab": false} {
		if sharing.Selects(selector, i) != want {
			t.Errorf("%q: %v", selector, !want)
		}
	}
	if sharing.Selects("", usb.Info{ID: "2-1"}) {
		t.Error("an empty selector means a device without a serial")
	}
}
