package network

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scriptedRendezvous returns servers whose credentials are valid for ttl.
type scriptedRendezvous struct {
	ttl      time.Duration
	err      error
	requests int
}

func (r *scriptedRendezvous) Send(context.Context, ident.PeerID, []byte) error { return nil }
func (r *scriptedRendezvous) Probe()                                           {}
func (r *scriptedRendezvous) RelayServers(context.Context) (rvclient.Servers, error) {
	r.requests++
	return rvclient.Servers{
		STUN: []string{"stun:127.0.0.1:1"}, TURN: []string{"turn:127.0.0.1:1"}, Username: "user", Password: "secret",
		Expires: time.Now().Add(r.ttl),
	}, r.err
}

func testConfig(t *testing.T) Config {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Key: key, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
		Trust: func(ident.PeerID) error { return nil }, Accept: func(link.Link) {},
	}
}

func newNetwork(t *testing.T, cfg Config) *Network {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestDirectAddressesNeedTLSListener(t *testing.T) {
	cfg := testConfig(t)
	if got := newNetwork(t, cfg).Direct(); len(got) != 0 {
		t.Errorf("Direct = %v without a listener", got)
	}
	cfg.TLSListen = "127.0.0.1:0"
	n := newNetwork(t, cfg)
	if got := n.Direct(); len(got) != 1 || got[0] != "tls://"+n.tlsAddr.String() {
		t.Errorf("Direct = %v, want the address of the listener %v", got, n.tlsAddr)
	}
	if got := n.Addrs(); len(got) != 2 || got[1] != "tls "+n.tlsAddr.String() {
		t.Errorf("Addrs = %v", got)
	}
}

func TestListenErrorNamesFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := testConfig(t)
	cfg.TCPListen = taken.Addr().String()
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "--tcp-listen") {
		t.Errorf("%v, want the flag --tcp-listen in it", err)
	}
}

func TestRelayCredentialsAreUsedUntilShortlyBeforeTheirEnd(t *testing.T) {
	for ttl, want := range map[time.Duration]int{time.Hour: 1, serversMinTTL / 2: 2} {
		cfg := testConfig(t)
		r := &scriptedRendezvous{ttl: ttl}
		cfg.Rendezvous = r
		n := newNetwork(t, cfg)
		for range 2 {
			servers, err := n.relayServers(t.Context())
			if err != nil || len(servers) != 2 || servers[1].Username != "user" {
				t.Fatalf("relayServers = %+v, %v", servers, err)
			}
		}
		if r.requests != want {
			t.Errorf("credentials for %v: %d requests, want %d", ttl, r.requests, want)
		}
	}
}

func TestProbeNeedsRendezvous(t *testing.T) {
	cfg := testConfig(t)
	_, err := newNetwork(t, cfg).ProbeNAT(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--rendezvous") {
		t.Errorf("without a rendezvous: %v, want advice", err)
	}
	broken := errors.New("the rendezvous is down")
	cfg.Rendezvous = &scriptedRendezvous{err: broken}
	if _, err := newNetwork(t, cfg).ProbeNAT(t.Context()); !errors.Is(err, broken) {
		t.Errorf("with a broken rendezvous: %v, want %v", err, broken)
	}
}

func TestRunEndsWithContextAndClosesSockets(t *testing.T) {
	cfg := testConfig(t)
	cfg.TLSListen = "127.0.0.1:0"
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Errorf("Run = %v", err)
	}
	if conn, err := net.Dial("tcp", n.tlsAddr.String()); err == nil {
		conn.Close()
		t.Error("the TLS listener is still open")
	}
}

func TestUnknownSchemeIsNotDialed(t *testing.T) {
	n := newNetwork(t, testConfig(t))
	if _, err := n.dialDirect(t.Context(), "udp://127.0.0.1:1", ident.PeerID{1}); err == nil {
		t.Error("an address with an unknown scheme is accepted")
	}
}
