package agent_test

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/stage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
)

// TestReleaseWritesTheCache writes to a disk with a write cache, without SYNCHRONIZE
// CACHE, and releases it. The client's settings turn the cache on the first time, and
// the request the second time.
func TestReleaseWritesTheCache(t *testing.T) {
	for name, c := range map[string]struct {
		cfg agent.Config
		use localapi.UseRequest
	}{
		"request": {
			agent.Config{USBIP: anyPort},
			localapi.UseRequest{Peer: "host", Device: "v-disk", Endpoint: true, WriteCache: true},
		},
		"settings": {agent.Config{USBIP: anyPort, WriteCache: []string{"1209:0001"}}, useDisk},
	} {
		t.Run(name, func(t *testing.T) {
			host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}, TLSListen: anyPort})
			client := newMachine(t, "client", c.cfg)
			host.addPeer(t, client)
			host.up(t)
			client.addPeer(t, host, "tls://"+host.listening(t, "tls"))
			client.up(t)
			if _, err := host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk"}); err != nil {
				t.Fatal(err)
			}
			use, err := client.Use(t.Context(), c.use, ignoreProgress)
			if err != nil {
				t.Fatal(err)
			}
			dev := importOnly(t, use.Address)
			written := bytes.Repeat([]byte("written ahead..."), 16<<10/16)
			writeAhead(t, dev, written)
			dev.Close()
			st, err := client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s := stageOf(t, st.Uses[0], "storage"); !s.WriteCache || s.Cached != 9*16<<10 || s.Unsaved != 0 {
				t.Errorf("%+v", s)
			}
			if err := client.Release(t.Context(), use.ID); err != nil {
				t.Fatal(err)
			}
			if use, err = client.Use(t.Context(), useDisk, ignoreProgress); err != nil {
				t.Fatal(err)
			}
			got := readDisk(t, use.Address)
			for n := range 10 {
				if !bytes.Equal(got[n*16<<10:][:16<<10], written) {
					t.Errorf("write %d has not reached the disk", n)
				}
			}
		})
	}
}

// writeAhead writes data 10 times, one after the other, as a driver does that knows of
// the cache.
func writeAhead(t *testing.T, dev usb.Device, data []byte) {
	t.Helper()
	disk := knowingDriver(t, dev)
	for n := range 10 {
		block := []byte{0x2a, 0, 0, 0, byte(n * 32 >> 8), byte(n * 32), 0, 0, 32, 0}
		if _, err := disk.Do(t.Context(), massstorage.Command{Block: block, Out: data}); err != nil {
			t.Fatal(err)
		}
	}
}

// knowingDriver returns a driver that knows of the write cache.
func knowingDriver(t *testing.T, dev usb.Device) *massstorage.Disk {
	t.Helper()
	disk, err := massstorage.New(massstorage.Config{Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Inquiry(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Capacity(t.Context()); err != nil {
		t.Fatal(err)
	}
	modes := massstorage.Command{Block: []byte{0x1a, 0, 0x3f, 0, 192, 0}, In: make([]byte, 192)}
	if _, err := disk.Do(t.Context(), modes); err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestCacheWithoutAccelerationIsRefused(t *testing.T) {
	client := newMachine(t, "client", agent.Config{USBIP: anyPort})
	host := newMachine(t, "host", agent.Config{})
	client.addPeer(t, host)
	client.up(t)
	both := useDisk
	both.NoAcceleration, both.WriteCache = true, true
	if _, err := client.Use(t.Context(), both, ignoreProgress); localapi.ProblemOf(err).Code != localapi.CodeInvalid {
		t.Errorf("%v", err)
	}
}

// TestCachedDiskSurvivesLinkLoss writes to a disk with a write cache through a session
// whose link is replaced again and again.
func TestCachedDiskSurvivesLinkLoss(t *testing.T) {
	local := softwareDisk(t)
	remote, relink := attachThroughSession(t, local, dialTCP(tcplink.TLS))
	dev := stage.Wrap(remote, stage.Config{WriteCache: true})
	defer dev.Close()
	disk := knowingDriver(t, dev)
	want := make([]byte, 8<<20)
	if _, err := rand.Read(want); err != nil {
		t.Fatal(err)
	}
	const size = 64 << 10
	for at := 0; at < len(want); at += size {
		if at%(1<<20) == size {
			relink()
		}
		block := []byte{0x2a, 0, 0, 0, byte(at / 512 >> 8), byte(at / 512), 0, 0, size / 512, 0}
		if _, err := disk.Do(t.Context(), massstorage.Command{Block: block, Out: want[at:][:size]}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := disk.Do(t.Context(), massstorage.Command{Block: []byte{0x35, 9: 0}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range dev.Stats() {
		if s.Name == "storage" && (s.Off != "" || s.Cached < 7<<20 || s.Unwritten != 0 || s.Unsaved != 0) {
			t.Errorf("%+v", s)
		}
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	if got := readAll(t, local); !bytes.Equal(got[:len(want)], want) {
		t.Error("the disk has other blocks than those that were written")
	}
}

// TestLostHostIsReported stops the host's agent for good while the disk lacks writes that
// the client's programs believe to be done.
func TestLostHostIsReported(t *testing.T) {
	host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}, TLSListen: anyPort})
	client := newMachine(t, "client", agent.Config{USBIP: anyPort})
	client.cfg.Budget = time.Second
	address := newForwarder(t)
	host.addPeer(t, client)
	client.addPeer(t, host, "tls://"+address.Addr())
	host.up(t)
	address.forwardTo(host.listening(t, "tls"))
	client.up(t)
	if _, err := host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk"}); err != nil {
		t.Fatal(err)
	}
	cached := useDisk
	cached.WriteCache = true
	use, err := client.Use(t.Context(), cached, ignoreProgress)
	if err != nil {
		t.Fatal(err)
	}
	dev := importOnly(t, use.Address)
	defer dev.Close()
	disk := knowingDriver(t, dev)
	write := massstorage.Command{Block: []byte{0x2a, 0, 0, 0, 0, 0, 0, 0, 32, 0}, Out: make([]byte, 16<<10)}
	if _, err := disk.Do(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	address.cut()
	if _, err := disk.Do(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Do(t.Context(), massstorage.Command{Block: []byte{0x35, 9: 0}}); err == nil {
		t.Error("SYNCHRONIZE CACHE succeeds without the host")
	}
	client.until(t, "the loss is reported", func() bool {
		st, err := client.Status(t.Context())
		return err == nil && strings.Contains(st.Uses[0].Reason, "reported as written: 16384 bytes")
	})
	if err := client.Release(t.Context(), use.ID); err == nil {
		t.Error("the release does not report the loss")
	}
}
