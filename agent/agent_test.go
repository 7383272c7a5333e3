package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// machine is an agent on this machine and its local interface.
type machine struct {
	*localapi.Client
	dir    string
	id     ident.PeerID
	cfg    agent.Config
	cancel context.CancelFunc
	ended  chan error
}

// newMachine makes a state directory.
func newMachine(t *testing.T, name string, cfg agent.Config) *machine {
	t.Helper()
	m := &machine{dir: t.TempDir(), cfg: cfg}
	m.cfg.Name, m.cfg.State, m.cfg.Socket = name, filepath.Join(m.dir, "state"), filepath.Join(m.dir, "s")
	m.cfg.Listen, m.cfg.Backend, m.cfg.Budget = "127.0.0.1:0", "none", time.Minute
	var log io.Writer = io.Discard
	if os.Getenv("EASYFIND_TEST_LOG") != "" {
		log = os.Stderr
	}
	m.cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("on", name)
	store, err := state.Open(m.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	m.id = store.Key().ID()
	store.Close()
	m.Client = localapi.NewClient(m.cfg.Socket)
	return m
}

// knows makes a machine paired with another.
func (m *machine) knows(t *testing.T, other *machine, addresses ...string) {
	t.Helper()
	theirs, err := state.Open(other.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	key := theirs.Key().Public()
	theirs.Close()
	store, err := state.Open(m.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.AddPeer(state.Peer{ID: other.id, PublicKey: key, Name: other.cfg.Name, PairedAt: time.Now(), Addresses: addresses}); err != nil {
		t.Fatal(err)
	}
}

// up starts the agent and waits until it answers.
func (m *machine) up(t *testing.T) {
	t.Helper()
	a, err := agent.New(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.ended = make(chan error, 1)
	go func() { m.ended <- a.Run(ctx) }()
	t.Cleanup(func() { m.down(t) })
	m.until(t, "answers", func() bool {
		_, err := m.Status(t.Context())
		return err == nil
	})
}

func (m *machine) down(t *testing.T) {
	t.Helper()
	if m.cancel == nil {
		return
	}
	m.cancel()
	m.cancel = nil
	if err := <-m.ended; err != nil {
		t.Errorf("%s: %v", m.cfg.Name, err)
	}
}

// until asks again and again until it is so.
func (m *machine) until(t *testing.T, what string, so func() bool) {
	t.Helper()
	if !waittest.Eventually(so) {
		st, err := m.Status(t.Context())
		t.Fatalf("%s: never: %s; status %+v, %v", m.cfg.Name, what, st, err)
	}
}

func quiet(localapi.Progress) {}

// port draws a free port on loopback.
func port(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// readDisk reads all blocks of the one disk that a USB/IP server offers.
func readDisk(t *testing.T, server string) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	list, err := usbip.List(t.Context(), conn)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d devices are offered, want one: %v", len(list), err)
	}
	if conn, err = net.Dial("tcp", server); err != nil {
		t.Fatal(err)
	}
	dev, err := usbip.Import(t.Context(), conn, list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	disk, err := massstorage.New(massstorage.Config{Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := disk.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(blocks)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sample is what is on every software disk.
func sample(t *testing.T) []byte {
	t.Helper()
	image, err := virtual.NewSample(virtual.SampleConfig{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(io.NewSectionReader(image, 0, image.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDirectWithoutRendezvous uses a far disk over TLS, and over plain TCP, with
// no rendezvous anywhere.
func TestDirectWithoutRendezvous(t *testing.T) {
	for _, scheme := range []string{"tls", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			address := port(t)
			cfg := agent.Config{Virtual: []string{"disk"}}
			if scheme == "tls" {
				cfg.TLSListen = address
			} else {
				cfg.TCPListen = address
			}
			host := newMachine(t, "host", cfg)
			client := newMachine(t, "client", agent.Config{USBIP: port(t)})
			host.knows(t, client)
			client.knows(t, host, scheme+"://"+address)
			host.up(t)
			client.up(t)
			if _, err := client.Use(t.Context(), localapi.UseRequest{Peer: "host", Device: "v-disk", Endpoint: true}, quiet); err == nil {
				t.Error("a device that is not shared can be used")
			}
			if _, err := host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk"}); err != nil {
				t.Fatal(err)
			}
			use, err := client.Use(t.Context(), localapi.UseRequest{Peer: "host", Device: "v-disk", Endpoint: true}, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if sha256.Sum256(readDisk(t, use.Address)) != sha256.Sum256(sample(t)) {
				t.Error("the far disk reads otherwise")
			}
			st, err := client.Status(t.Context())
			if err != nil || len(st.Peers) != 1 || st.Peers[0].Link == nil || st.Peers[0].Link.Transport != scheme || st.Peers[0].Link.Encrypted != (scheme == "tls") {
				t.Errorf("status %+v, %v", st.Peers, err)
			}
			there, err := host.Status(t.Context())
			if err != nil || len(there.Exports) != 1 || there.Exports[0].Peer != "client" {
				t.Errorf("the host says of its exports %+v, %v", there.Exports, err)
			}
			if err := client.Release(t.Context(), use.ID); err != nil {
				t.Fatal(err)
			}
			host.until(t, "the disk is free again", func() bool {
				st, err := host.Status(t.Context())
				return err == nil && len(st.Exports) == 0
			})
		})
	}
}

// TestUsesSurviveARestart stops the client's agent and starts it again.
func TestUsesSurviveARestart(t *testing.T) {
	address := port(t)
	host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}, TLSListen: address})
	client := newMachine(t, "client", agent.Config{USBIP: port(t)})
	host.knows(t, client)
	client.knows(t, host, "tls://"+address)
	host.up(t)
	client.up(t)
	if _, err := host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk", With: []string{"client"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Use(t.Context(), localapi.UseRequest{Peer: "host", Device: "v-disk", Endpoint: true}, quiet); err != nil {
		t.Fatal(err)
	}
	client.down(t)
	client.up(t)
	attached := func() bool {
		st, err := client.Status(t.Context())
		return err == nil && len(st.Uses) == 1 && st.Uses[0].State == localapi.UseAttached
	}
	client.until(t, "the disk is attached again", attached)
	if !bytes.Equal(readDisk(t, client.cfg.USBIP), sample(t)) {
		t.Error("the far disk reads otherwise after the restart")
	}
	host.down(t)
	client.until(t, "the use waits for its host", func() bool { return !attached() })
	host.up(t)
	client.until(t, "the disk is attached once more", attached)
	if err := host.Unshare(t.Context(), "v-disk"); err != nil {
		t.Fatal(err)
	}
	client.until(t, "a device that is no longer shared is gone", func() bool { return !attached() })
}

// TestADeviceThatHasBecomeAnotherIsNotTaken remembers a use of another device
// under the same name, as after a stick was swapped for something that types.
func TestADeviceThatHasBecomeAnotherIsNotTaken(t *testing.T) {
	address := port(t)
	host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}, TLSListen: address})
	client := newMachine(t, "client", agent.Config{USBIP: port(t)})
	host.knows(t, client)
	client.knows(t, host, "tls://"+address)
	store, err := state.Open(client.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	agreed := sha256.Sum256([]byte("the descriptors of another device"))
	err = store.PutUse(state.Use{Peer: host.id, Device: "v-disk", Mode: state.ModeEndpoint, Expect: hex.EncodeToString(agreed[:])})
	store.Close()
	if err != nil {
		t.Fatal(err)
	}
	host.up(t)
	if _, err := host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk"}); err != nil {
		t.Fatal(err)
	}
	client.up(t)
	client.until(t, "the use has failed and says why", func() bool {
		st, err := client.Status(t.Context())
		return err == nil && len(st.Uses) == 1 && st.Uses[0].State == localapi.UseFailed && strings.Contains(st.Uses[0].Reason, "descriptors have changed")
	})
	// Asking for it anew is a new consent.
	use, err := client.Use(t.Context(), localapi.UseRequest{Peer: "host", Device: "v-disk", Endpoint: true}, quiet)
	if err != nil || use.State != localapi.UseAttached {
		t.Errorf("used anew: %+v, %v", use, err)
	}
}

func TestBadRequestsAreExplained(t *testing.T) {
	host := newMachine(t, "host", agent.Config{Virtual: []string{"disk"}})
	other := newMachine(t, "other", agent.Config{})
	host.knows(t, other, "tls://127.0.0.1:1")
	host.up(t)
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"unknown device":    {second(host.Share(t.Context(), localapi.ShareRequest{Device: "9-9"})), `no such USB device: 9-9; see "easyfind devices"`},
		"unknown peer":      {second(host.Share(t.Context(), localapi.ShareRequest{Device: "v-disk", With: []string{"nobody"}})), `see "easyfind peers"`},
		"not shared":        {host.Unshare(t.Context(), "v-disk"), "not shared"},
		"not used":          {host.Release(t.Context(), "other/v-disk"), "no such use"},
		"no rendezvous":     {second(host.JoinPairing(t.Context(), localapi.JoinRequest{Address: "AAA-AAA", PIN: "1234-5678"}, quiet)), "start the agent with --rendezvous"},
		"no usbip endpoint": {second(host.Use(t.Context(), localapi.UseRequest{Peer: "other", Device: "1-1", Endpoint: true}, quiet)), "--usbip-listen"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, c.err, c.want)
		}
	}
	if _, err := agent.New(host.cfg); err == nil || !strings.Contains(err.Error(), "another easyfind daemon") {
		t.Errorf("a second agent on the same state: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestBadConfigurationIsExplained(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
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
