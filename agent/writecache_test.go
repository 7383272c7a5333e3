package agent_test

import (
	"bytes"
	"testing"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
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
	for n := range 10 {
		block := []byte{0x2a, 0, 0, 0, byte(n * 32 >> 8), byte(n * 32), 0, 0, 32, 0}
		if _, err := disk.Do(t.Context(), massstorage.Command{Block: block, Out: data}); err != nil {
			t.Fatal(err)
		}
	}
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
