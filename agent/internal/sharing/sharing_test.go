package sharing_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/sharing"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// holders stands for the sessions with the peers. Revoke closes the device.
type holders struct {
	mu      sync.Mutex
	lost    map[ident.PeerID]bool
	open    map[ident.PeerID]usb.Device
	revoked []revocation
}

type revocation struct {
	peer   ident.PeerID
	device string
}

func (h *holders) Lost(id ident.PeerID, _ string) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Time{}, h.lost[id]
}

func (h *holders) Revoke(id ident.PeerID, device, _ string) {
	h.mu.Lock()
	dev := h.open[id]
	delete(h.open, id)
	h.revoked = append(h.revoked, revocation{id, device})
	h.mu.Unlock()
	if dev != nil {
		dev.Close()
	}
}

func (h *holders) allRevoked() []revocation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revoked
}

// machine shares a software disk with the peers ann and ben.
type machine struct {
	*sharing.Manager
	store    *state.Store
	holders  *holders
	ann, ben ident.PeerID
	changes  atomic.Int32 // calls of Changed
}

func newMachine(t *testing.T, share func(ann ident.PeerID) state.Share) *machine {
	t.Helper()
	disk, _ := virtualtest.Disk(t, virtual.SampleConfig{Size: 4 << 20}, virtual.DiskConfig{})
	bus := virtualtest.Bus(t, disk)
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	m := &machine{store: store, holders: &holders{lost: map[ident.PeerID]bool{}, open: map[ident.PeerID]usb.Device{}}}
	m.ann, m.ben = pair(t, store, "ann"), pair(t, store, "ben")
	if err := store.PutShare(share(m.ann)); err != nil {
		t.Fatal(err)
	}
	m.Manager, err = sharing.New(sharing.Config{
		Bus: bus, Store: store, Holders: m.holders, Logger: slog.New(slog.DiscardHandler),
		Changed: func() { m.changes.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func pair(t *testing.T, store *state.Store, name string) ident.PeerID {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := state.Peer{ID: key.ID(), PublicKey: key.Public(), Name: name, PairedAt: time.Now()}
	if _, err := store.AddPeer(p); err != nil {
		t.Fatal(err)
	}
	return p.ID
}

func withAll(ident.PeerID) state.Share { return state.Share{Device: "v-disk"} }

// run runs the manager in virtual time.
func run(t *testing.T, share func(ann ident.PeerID) state.Share, f func(t *testing.T, m *machine)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, share)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		synctest.Wait()
		f(t, m)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (m *machine) open(t *testing.T, peer ident.PeerID, a tunnel.Attach) (usb.Device, error) {
	dev, err := m.For(peer).Open(t.Context(), a)
	if err == nil {
		m.holders.mu.Lock()
		m.holders.open[peer] = dev
		m.holders.mu.Unlock()
		t.Cleanup(func() { dev.Close() })
	}
	return dev, err
}

func TestPeerSeesAndOpensOnlyItsShares(t *testing.T) {
	m := newMachine(t, func(ann ident.PeerID) state.Share {
		return state.Share{Device: "1209:0001", Peers: []ident.PeerID{ann}}
	})
	if devices, err := m.Devices(); err != nil || len(devices) != 1 || !devices[0].Holder.IsZero() {
		t.Fatalf("Devices = %+v, %v", devices, err)
	}
	if list := m.For(m.ben).Devices(); len(list) != 0 {
		t.Errorf("ben sees %+v", list)
	}
	if _, err := m.open(t, m.ben, tunnel.Attach{Device: "v-disk"}); !errors.Is(err, usb.ErrNotFound) {
		t.Errorf("ben opens the disk: %v", err)
	}
	list := m.For(m.ann).Devices()
	if len(list) != 1 || list[0].ID != "v-disk" || list[0].InUseBy != "" {
		t.Fatalf("ann sees %+v", list)
	}
	other := tunnel.Attach{Device: "v-disk", Expect: session.Fingerprint([]byte("another device"))}
	if _, err := m.open(t, m.ann, other); !errors.Is(err, session.ErrChanged) {
		t.Errorf("ann opens a device with other descriptors than she expects: %v", err)
	}
	same := tunnel.Attach{Device: "v-disk", Expect: session.Fingerprint(list[0].Descriptors)}
	if _, err := m.open(t, m.ann, same); err != nil {
		t.Errorf("ann opens the disk: %v", err)
	}
}

func TestOnePeerHoldsDeviceAtATime(t *testing.T) {
	m := newMachine(t, withAll)
	dev, err := m.open(t, m.ann, tunnel.Attach{Device: "v-disk"})
	if err != nil {
		t.Fatal(err)
	}
	if list := m.For(m.ben).Devices(); len(list) != 1 || list[0].InUseBy != "ann" {
		t.Errorf("ben sees %+v", list)
	}
	if _, err := m.open(t, m.ben, tunnel.Attach{Device: "v-disk"}); !errors.Is(err, usb.ErrInUse) {
		t.Errorf("ben opens the disk that ann holds: %v", err)
	}
	dev.Close()
	if _, err := m.open(t, m.ben, tunnel.Attach{Device: "v-disk"}); err != nil {
		t.Errorf("ben opens the disk that ann gave back: %v", err)
	}
}

func TestUnreachableHolderLosesDevice(t *testing.T) {
	m := newMachine(t, withAll)
	if _, err := m.open(t, m.ann, tunnel.Attach{Device: "v-disk"}); err != nil {
		t.Fatal(err)
	}
	m.holders.lost[m.ann] = true
	if _, err := m.open(t, m.ben, tunnel.Attach{Device: "v-disk"}); err != nil {
		t.Errorf("ben opens the disk of ann, who cannot be reached: %v", err)
	}
	if devices, _ := m.Devices(); devices[0].Holder != m.ben {
		t.Errorf("the holder is %s, want ben", devices[0].Holder)
	}
}

// TestRestartedClientGetsItsDeviceBack opens a device that the same peer still
// holds: the agent of the peer was restarted, and the host has not noticed yet.
func TestRestartedClientGetsItsDeviceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, withAll)
		old, err := m.open(t, m.ann, tunnel.Attach{Device: "v-disk"})
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan error)
		go func() {
			_, err := m.open(t, m.ann, tunnel.Attach{Device: "v-disk"})
			opened <- err
		}()
		synctest.Wait()
		old.Close()
		if err := <-opened; err != nil {
			t.Errorf("ann opens her device again: %v", err)
		}
	})
}

func TestUnsharingRevokesDevice(t *testing.T) {
	run(t, withAll, func(t *testing.T, m *machine) {
		if _, err := m.open(t, m.ann, tunnel.Attach{Device: "v-disk"}); err != nil {
			t.Fatal(err)
		}
		if err := m.store.PutShare(state.Share{Device: "v-disk", Peers: []ident.PeerID{m.ann}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if all := m.holders.allRevoked(); len(all) != 0 {
			t.Errorf("revoked %v although the device is still shared with its holder", all)
		}
		if err := m.store.RemoveShare("v-disk"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if all := m.holders.allRevoked(); len(all) != 1 || all[0] != (revocation{m.ann, "v-disk"}) {
			t.Errorf("revoked %v, want the disk of ann", all)
		}
	})
}

func TestEndedShareRevokesDevice(t *testing.T) {
	var until time.Time
	share := func(ident.PeerID) state.Share {
		until = time.Now().Add(time.Hour)
		return state.Share{Device: "v-disk", Until: until}
	}
	run(t, share, func(t *testing.T, m *machine) {
		if _, err := m.open(t, m.ann, tunnel.Attach{Device: "v-disk"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		changes := m.changes.Load()
		time.Sleep(time.Until(until) - time.Second)
		synctest.Wait()
		if all := m.holders.allRevoked(); len(all) != 0 || m.changes.Load() != changes {
			t.Errorf("revoked %v and announced a change before the share ended", all)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(m.holders.allRevoked()) == 0 {
			t.Error("the device was not revoked within 5 s after the share ended")
		}
		if m.changes.Load() == changes {
			t.Error("peers are not informed that the share has ended")
		}
	})
}

// TestOnlySharesAndNamesChangeDeviceLists checks which changes of the state make
// the agent send its device lists to peers.
func TestOnlySharesAndNamesChangeDeviceLists(t *testing.T) {
	run(t, withAll, func(t *testing.T, m *machine) {
		for _, c := range []struct {
			name   string
			change func() error
			want   int32
		}{
			{"use", func() error {
				return m.store.PutUse(state.Use{Peer: m.ann, Device: "1-1", Mode: state.ModeVHCI})
			}, 0},
			{"release", func() error { return m.store.RemoveUse(m.ann, "1-1") }, 0},
			{"reach", func() error { return m.store.SetAddresses(m.ann, []string{"tls://ann:7574"}) }, 0},
			{"share", func() error { return m.store.PutShare(state.Share{Device: "2-1"}) }, 1},
			{"unshare", func() error { return m.store.RemoveShare("2-1") }, 1},
			{"forget", func() error { return m.store.ForgetPeer(m.ben) }, 1},
		} {
			before := m.changes.Load()
			if err := c.change(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			synctest.Wait()
			if got := m.changes.Load() - before; got != c.want {
				t.Errorf("%s: device lists are sent %d times, want %d", c.name, got, c.want)
			}
		}
	})
}

func TestSelectors(t *testing.T) {
	i := usb.Info{ID: "2-1", Vendor: 0x0403, Product: 0x60ab, Serial: "A1"}
	for selector, want := range map[string]bool{
		"2-1": true, "0403:60ab": true, "0403:60AB": true, "A1": true, "": false, "2-1.1": false, "403:60ab": false,
	} {
		if sharing.Selects(selector, i) != want {
			t.Errorf("Selects(%q) = %v", selector, !want)
		}
	}
	if sharing.Selects("", usb.Info{ID: "2-1"}) {
		t.Error("an empty selector selects a device without a serial number")
	}
}
