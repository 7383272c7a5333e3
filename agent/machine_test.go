package agent_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// anyPort lets the system choose a port on loopback.
const anyPort = "127.0.0.1:0"

// machine is an agent and a client of its local API.
type machine struct {
	*localapi.Client
	key    ident.Key
	id     ident.PeerID
	cfg    agent.Config
	cancel context.CancelFunc // nil: the agent does not run
	ended  chan error
}

// newMachine creates the state directory of an agent. With EASYFIND_TEST_LOG set, the
// agent logs to the standard error.
func newMachine(t *testing.T, name string, cfg agent.Config) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{cfg: cfg}
	m.cfg.Name, m.cfg.State, m.cfg.Socket = name, filepath.Join(dir, "state"), filepath.Join(dir, "s")
	m.cfg.Listen, m.cfg.Backend, m.cfg.Budget = anyPort, "none", time.Minute
	var log io.Writer = io.Discard
	if os.Getenv("EASYFIND_TEST_LOG") != "" {
		log = os.Stderr
	}
	handler := slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})
	m.cfg.Logger = slog.New(handler).With("name", name)
	store, err := state.Open(m.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	m.key = store.Key()
	m.id = m.key.ID()
	store.Close()
	m.Client = localapi.NewClient(m.cfg.Socket)
	return m
}

// addPeer pairs the machine with another one. The agent of m must not run.
func (m *machine) addPeer(t *testing.T, other *machine, addresses ...string) {
	t.Helper()
	m.addKey(t, other.cfg.Name, other.key, addresses...)
}

// addKey pairs the machine with the owner of a key.
func (m *machine) addKey(t *testing.T, name string, key ident.Key, addresses ...string) {
	t.Helper()
	store, err := state.Open(m.cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p := state.Peer{
		ID: key.ID(), PublicKey: key.Public(), Name: name, PairedAt: time.Now(), Addresses: addresses,
	}
	if _, err := store.AddPeer(p); err != nil {
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
	m.until(t, "the agent answers", func() bool {
		_, err := m.Status(t.Context())
		return err == nil
	})
}

// down stops the agent.
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

// until waits for a condition.
func (m *machine) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	if !waittest.Eventually(condition) {
		st, err := m.Status(t.Context())
		t.Fatalf("%s: timeout: %s; status %+v, %v", m.cfg.Name, what, st, err)
	}
}

// listening returns the address of a listener, such as "tls" or "usbip".
func (m *machine) listening(t *testing.T, kind string) string {
	t.Helper()
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range st.Self.Listen {
		if addr, ok := strings.CutPrefix(l, kind+" "); ok {
			return addr
		}
	}
	t.Fatalf("%s has no listener %q: %v", m.cfg.Name, kind, st.Self.Listen)
	return ""
}

// forwarder is a TCP address that stays the same while the agent behind it restarts
// on another port.
type forwarder struct {
	ln    net.Listener
	pipes sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	target string     // empty: connections are closed
	conns  []net.Conn
}

func newForwarder(t *testing.T) *forwarder {
	t.Helper()
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{ln: ln}
	f.pipes.Go(f.accept)
	t.Cleanup(func() {
		ln.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.pipes.Wait()
	})
	return f
}

func (f *forwarder) Addr() string { return f.ln.Addr().String() }

func (f *forwarder) forwardTo(target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = target
}

// cut closes the connections and forwards no more.
func (f *forwarder) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = ""
	for _, c := range f.conns {
		c.Close()
	}
}

func (f *forwarder) accept() {
	for {
		in, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		out, err := net.Dial("tcp", f.target)
		if err != nil {
			in.Close()
			f.mu.Unlock()
			continue
		}
		f.conns = append(f.conns, in, out)
		f.mu.Unlock()
		pipe := func(to, from net.Conn) {
			io.Copy(to, from)
			to.Close()
			from.Close()
		}
		f.pipes.Go(func() { pipe(in, out) })
		f.pipes.Go(func() { pipe(out, in) })
	}
}

// readDisk reads all blocks of the only disk that a USB/IP server exports.
func readDisk(t *testing.T, server string) []byte {
	t.Helper()
	dev := importOnly(t, server)
	defer dev.Close()
	return readAll(t, dev)
}

// importOnly imports the only device that a USB/IP server exports.
func importOnly(t *testing.T, server string) usb.Device {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	list, err := usbip.List(t.Context(), conn)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d devices are exported, want one: %v", len(list), err)
	}
	if conn, err = net.Dial("tcp", server); err != nil {
		t.Fatal(err)
	}
	dev, err := usbip.Import(t.Context(), conn, list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// readAll returns the content of a disk.
func readAll(t *testing.T, dev usb.Device) []byte {
	t.Helper()
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

// sampleImage returns the content of a software disk.
func sampleImage(t *testing.T) []byte {
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
