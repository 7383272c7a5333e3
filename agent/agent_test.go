package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
)

// useDisk asks for the disk of the machine "host" on the loopback server.
var useDisk = localapi.UseRequest{Peer: "host", Device: "v-disk", Endpoint: true}

func ignoreProgress(localapi.Progress) {}

// TestUseDiskWithoutRendezvous reads a remote disk over TLS and over plain TCP.
func TestUseDiskWithoutRendezvous(t *testing.T) {
	for _, scheme := range []string{"tls", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			cfg := agent.Config{Virtual: []string{"disk"}}
			if scheme == "tls" {
				cfg.TLSListen = anyPort
			} else {
				cfg.TCPListen = anyPort
			}
			host := newMachine(t, "host", cfg)
			client := newMachine(t, "client", agent.Config{USBIP: anyPort})
			host.addPeer(t, client)
			host.up(t)
			client.addPeer(t, host, scheme+"://"+host.listening(t, scheme))
			client.up(t)
			if _, err := client.Use(t.Context(), useDisk, ignoreProgress); err == nil {
				t.Error("a device that is not shared can be used")
			}
			if _, err := host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk"}); err != nil {
				t.Fatal(err)
			}
			use, err := client.Use(t.Context(), useDisk, ignoreProgress)
			if err != nil {
				t.Fatal(err)
			}
			if sha256.Sum256(readDisk(t, use.Address)) != sha256.Sum256(sampleImage(t)) {
				t.Error("the remote disk has other content")
			}
			checkStatus(t, host, client, scheme)
			if err := client.Release(t.Context(), use.ID); err != nil {
				t.Fatal(err)
			}
			host.until(t, "the disk is free again", func() bool {
				st, err := host.Status(t.Context())
				return err == nil && len(st.Exports) == 0
			})
			plain := useDisk
			plain.NoAcceleration = true
			use, err = client.Use(t.Context(), plain, ignoreProgress)
			if err != nil || !strings.Contains(stageOf(t, use, "storage").Off, "turned off") {
				t.Errorf("use without acceleration: %+v, %v", use, err)
			}
		})
	}
}

// checkStatus checks what both agents report while the client uses a device.
func checkStatus(t *testing.T, host, client *machine, scheme string) {
	t.Helper()
	st, err := client.Status(t.Context())
	if err != nil || len(st.Uses) != 1 || len(st.Peers) != 1 || st.Peers[0].Link == nil {
		t.Fatalf("status of the client: %+v, %v", st.Peers, err)
	}
	if l := st.Peers[0].Link; l.Transport != scheme || l.Encrypted != (scheme == "tls") {
		t.Errorf("link of the client: %+v", l)
	}
	for _, name := range []string{"storage", "enumeration"} {
		if s := stageOf(t, st.Uses[0], name); s.Off != "" || s.Hits == 0 {
			t.Errorf("the disk was not accelerated: %+v", s)
		}
	}
	st, err = host.Status(t.Context())
	if err != nil || len(st.Exports) != 1 || st.Exports[0].Peer != "client" {
		t.Errorf("exports of the host: %+v, %v", st.Exports, err)
	}
}

// stageOf returns a stage of a use.
func stageOf(t *testing.T, use localapi.Use, name string) localapi.Stage {
	t.Helper()
	for _, s := range use.Stages {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("the use has no stage %q: %+v", name, use.Stages)
	return localapi.Stage{}
}

// TestUseSurvivesRestart restarts the agent of the client and then that of the host.
func TestUseSurvivesRestart(t *testing.T) {
	host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}, TLSListen: anyPort})
	client := newMachine(t, "client", agent.Config{USBIP: anyPort})
	address := newForwarder(t)
	host.addPeer(t, client)
	client.addPeer(t, host, "tls://"+address.Addr())
	host.up(t)
	address.forwardTo(host.listening(t, "tls"))
	client.up(t)
	share := localapi.ShareRequest{Device: "v-disk", With: []string{"client"}}
	if _, err := host.Share(t.Context(), share); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Use(t.Context(), useDisk, ignoreProgress); err != nil {
		t.Fatal(err)
	}
	client.down(t)
	client.up(t)
	attached := func() bool {
		st, err := client.Status(t.Context())
		return err == nil && len(st.Uses) == 1 && st.Uses[0].State == localapi.UseAttached
	}
	client.until(t, "the disk is attached after the restart of the client", attached)
	if !bytes.Equal(readDisk(t, client.listening(t, "usbip")), sampleImage(t)) {
		t.Error("the remote disk has other content after the restart")
	}
	host.down(t)
	client.until(t, "the use waits for its host", func() bool { return !attached() })
	host.up(t)
	address.forwardTo(host.listening(t, "tls"))
	client.until(t, "the disk is attached after the restart of the host", attached)
	if err := host.Unshare(t.Context(), "v-disk"); err != nil {
		t.Fatal(err)
	}
	client.until(t, "the disk is detached because it is no longer shared", func() bool { return !attached() })
}

// TestSwappedDeviceIsNotAttached stores a use of another device with the same id. So
// an attacker who replaces a disk by a keyboard does not get it attached.
func TestSwappedDeviceIsNotAttached(t *testing.T) {
	host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}, TLSListen: anyPort})
	client := newMachine(t, "client", agent.Config{USBIP: anyPort})
	host.addPeer(t, client)
	host.up(t)
	client.addPeer(t, host, "tls://"+host.listening(t, "tls"))
	store, err := state.Open(client.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	other := sha256.Sum256([]byte("the descriptors of another device"))
	err = store.PutUse(state.Use{
		Peer: host.id, Device: "v-disk", Mode: state.ModeEndpoint, Expect: hex.EncodeToString(other[:]),
	})
	store.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk"}); err != nil {
		t.Fatal(err)
	}
	client.up(t)
	client.until(t, "the use has failed because of the descriptors", func() bool {
		st, err := client.Status(t.Context())
		return err == nil && len(st.Uses) == 1 && st.Uses[0].State == localapi.UseFailed &&
			strings.Contains(st.Uses[0].Reason, "descriptors have changed")
	})
	// The user agrees to the new device by using it again.
	use, err := client.Use(t.Context(), useDisk, ignoreProgress)
	if err != nil || use.State != localapi.UseAttached {
		t.Errorf("second use: %+v, %v", use, err)
	}
}

func TestRefusedRequestsSayWhatToDo(t *testing.T) {
	host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}})
	other := newMachine(t, "other", agent.Config{})
	host.addPeer(t, other, "tls://127.0.0.1:1")
	host.up(t)
	ctx := t.Context()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"unknown device": {
			second(host.Share(ctx, localapi.ShareRequest{Device: "9-9"})),
			`no such USB device: 9-9; see "easyfind devices"`,
		},
		"unknown peer": {
			second(host.Share(ctx, localapi.ShareRequest{Device: "v-disk", With: []string{"nobody"}})),
			`see "easyfind peers"`,
		},
		"not shared": {host.Unshare(ctx, "v-disk"), "not shared"},
		"not used":   {host.Release(ctx, "other/v-disk"), "no such use"},
		"no rendezvous": {
			second(host.JoinPairing(ctx, localapi.JoinRequest{Address: "AAA-AAA", PIN: "1234-5678"}, ignoreProgress)),
			"start the agent with --rendezvous",
		},
		"no USB/IP server": {
			second(host.Use(ctx, localapi.UseRequest{Peer: "other", Device: "1-1", Endpoint: true}, ignoreProgress)),
			"--usbip-listen",
		},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, c.err, c.want)
		}
	}
	if _, err := agent.New(host.cfg); err == nil || !strings.Contains(err.Error(), "another easyfind daemon") {
		t.Errorf("a second agent with the same state: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestBadConfigurationErrorNamesFlag(t *testing.T) {
	taken, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for want, change := range map[string]func(*agent.Config){
		"--tls-listen":            func(c *agent.Config) { c.TLSListen = taken.Addr().String() },
		"--usbip-listen":          func(c *agent.Config) { c.USBIP = taken.Addr().String() },
		"--budget":                func(c *agent.Config) { c.Budget = time.Millisecond },
		"--name":                  func(c *agent.Config) { c.Name = "a\x1b[2Jb" },
		"no software device":      func(c *agent.Config) { c.Virtual = []string{"toaster"} },
		"--virtual-disk":          func(c *agent.Config) { c.Disk = "/nonexistent" },
		"join link":               func(c *agent.Config) { c.Rendezvous = "ftp://nowhere" },
		"join link of the rendez": func(c *agent.Config) { c.Rendezvous = "@/nonexistent" },
	} {
		m := newMachine(t, "host", agent.Config{})
		change(&m.cfg)
		if _, err := agent.New(m.cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// TestAgentThatNeverRunsCanBeClosed checks that Close frees the state directory and
// the sockets.
func TestAgentThatNeverRunsCanBeClosed(t *testing.T) {
	m := newMachine(t, "host", agent.Config{TLSListen: anyPort, USBIP: anyPort})
	a, err := agent.New(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	a, err = agent.New(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Errorf("Run with a cancelled context: %v", err)
	}
}
