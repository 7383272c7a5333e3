package path_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/call"
)

// testPeer is one of the two peers of a test.
type testPeer struct {
	sock  *socket
	paths *path.Paths
}

func newPeer(t *testing.T, addr string) *testPeer {
	t.Helper()
	e := &testPeer{sock: listen(t, addr)}
	var err error
	e.paths, err = path.New(path.Config{Conn: e.sock, AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.paths.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return e
}

// overWire encodes a value as JSON and decodes it, like a message between peers.
func overWire[T any](t *testing.T, v T) (got T) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if err != nil {
		t.Errorf("over the wire: %v", err)
	}
	return got
}

// connectPeers makes an attempt for both peers and connects them.
func connectPeers(t *testing.T, a, b *testPeer, servers []path.Server) (ra, rb path.Result) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waittest.Timeout)
	defer cancel()
	var attempts [2]*path.Attempt
	ready := make(chan struct{})
	for i, e := range []*testPeer{a, b} {
		at, err := e.paths.NewAttempt(path.AttemptConfig{
			Controlling: i == 0, Servers: servers,
			OnLocal: func(c call.Candidate) {
				<-ready
				if err := attempts[1-i].AddRemote(overWire(t, c)); err != nil {
					t.Errorf("AddRemote(%v): %v", c, err)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(at.Close)
		attempts[i] = at
	}
	close(ready)
	var wg sync.WaitGroup
	for i, r := range []*path.Result{&ra, &rb} {
		wg.Go(func() {
			var err error
			if *r, err = attempts[i].Connect(ctx, overWire(t, attempts[1-i].Local())); err != nil {
				t.Errorf("Connect of peer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return ra, rb
}

// send sends a text like a packet of QUIC.
func send(t *testing.T, e *testPeer, r path.Result, text string) {
	t.Helper()
	var err error
	if r.Relayed != nil {
		_, err = r.Relayed.WriteTo([]byte(text), r.RemoteAddr)
	} else {
		_, err = e.sock.WriteTo([]byte(text), r.Remote)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// expectText waits for a text that arrives like a packet of QUIC.
func expectText(t *testing.T, e *testPeer, r path.Result, want string) {
	t.Helper()
	got := make([]byte, 2048)
	if r.Relayed == nil {
		select {
		case d := <-e.sock.data:
			if string(d.b) != want || d.from != r.Remote.AddrPort() {
				t.Fatalf("got %q from %v, want %q from %v", d.b, d.from, want, r.Remote)
			}
		case <-time.After(waittest.Timeout):
			t.Fatal("no packet arrived on the socket")
		}
		return
	}
	if err := r.Relayed.SetReadDeadline(time.Now().Add(waittest.Timeout)); err != nil {
		t.Fatal(err)
	}
	n, from, err := r.Relayed.ReadFrom(got)
	if err != nil || string(got[:n]) != want || from.String() != r.RemoteAddr.String() {
		t.Fatalf("got %q from %v, error %v; want %q from %v", got[:n], from, err, want, r.RemoteAddr)
	}
}

func exchange(t *testing.T, a, b *testPeer, ra, rb path.Result) {
	t.Helper()
	send(t, a, ra, "there")
	expectText(t, b, rb, "there")
	send(t, b, rb, "and back")
	expectText(t, a, ra, "and back")
}

func relayServer(t *testing.T, transport string) []path.Server {
	t.Helper()
	return []path.Server{{
		URL:      "turn:127.0.0.1:" + startRelay(t) + "?transport=" + transport,
		Username: relayUser, Password: relayPassword,
	}}
}

func TestPeersOnOneNetworkGetDirectPath(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			a, b := newPeer(t, addr), newPeer(t, addr)
			ra, rb := connectPeers(t, a, b, nil)
			if ra.Kind != path.KindHost || rb.Kind != path.KindHost || ra.Why != "" {
				t.Errorf("kinds %q and %q (%s), want host", ra.Kind, rb.Kind, ra.Why)
			}
			if ra.Relayed != nil || rb.Relayed != nil {
				t.Error("a direct path has a relayed connection")
			}
			if ra.RemoteString != rb.Local || rb.RemoteString != ra.Local {
				t.Errorf("the peers disagree: %s - %s and %s - %s",
					ra.Local, ra.RemoteString, rb.Local, rb.RemoteString)
			}
			exchange(t, a, b, ra, rb)
		})
	}
}

func TestBlockedPeerUsesRelay(t *testing.T) {
	for transport, kind := range map[string]path.Kind{"udp": path.KindRelayUDP, "tcp": path.KindRelayTCP} {
		t.Run(transport, func(t *testing.T) {
			servers := relayServer(t, transport)
			a, b := newPeer(t, "127.0.0.1:0"), newPeer(t, "127.0.0.1:0")
			a.sock.blocked.Store(true)
			ra, rb := connectPeers(t, a, b, servers)
			if ra.Kind != kind || rb.Kind != kind {
				t.Errorf("kinds %q and %q, want %q", ra.Kind, rb.Kind, kind)
			}
			if ra.Relayed == nil || rb.Relayed != nil {
				t.Fatal("want a relayed connection of the blocked peer only")
			}
			for _, r := range []path.Result{ra, rb} {
				if (r.Relayed != nil) != (r.Relay != "") || r.Why == "" {
					t.Errorf("relay %q, why %q", r.Relay, r.Why)
				}
			}
			exchange(t, a, b, ra, rb)
		})
	}
}

func TestDeadlineAndCloseEndReadOfRelayedConn(t *testing.T) {
	a, b := newPeer(t, "127.0.0.1:0"), newPeer(t, "127.0.0.1:0")
	a.sock.blocked.Store(true)
	b.sock.blocked.Store(true)
	ra, rb := connectPeers(t, a, b, relayServer(t, "udp"))
	exchange(t, a, b, ra, rb) // relay to relay
	c := ra.Relayed
	blocked := make(chan error)
	read := func() {
		_, _, err := c.ReadFrom(make([]byte, 10))
		blocked <- err
	}
	go read()
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after a deadline in the past: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go read()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := c.WriteTo([]byte("x"), ra.RemoteAddr); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

func TestForbiddenAddressesAreRefused(t *testing.T) {
	s := listen(t, "0.0.0.0:0")
	p, err := path.New(path.Config{Conn: s})
	if err != nil {
		t.Fatal(err)
	}
	at, err := p.NewAttempt(path.AttemptConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	try := func(addr string) error {
		return at.AddRemote(call.Candidate{Type: call.HostCandidate, Addr: netip.MustParseAddrPort(addr), Priority: 1})
	}
	for _, addr := range []string{
		"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "169.254.169.254:80", "[::ffff:169.254.169.254]:80",
		"[fe80::1]:80", "224.0.0.251:5353", "[ff02::fb]:5353", "255.255.255.255:7", "0.0.0.0:80", "[::]:80",
		"0.1.2.3:80", "[fd00:ec2::254]:80", "100.100.100.200:80", "[64:ff9b::a9fe:a9fe]:80",
		"[64:ff9b::7f00:1]:80", "192.0.2.1:0",
	} {
		if err := try(addr); !errors.Is(err, path.ErrRefused) {
			t.Errorf("%s: error %v, want %v", addr, err, path.ErrRefused)
		}
	}
	for i := range 10_000 {
		err := try(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(i+1)).String())
		if refused := errors.Is(err, path.ErrRefused); refused != (i >= call.MaxRemote) {
			t.Fatalf("address %d: %v", i, err)
		}
	}
}

func TestProbeFindsMapping(t *testing.T) {
	a := newPeer(t, "127.0.0.1:0")
	servers := []path.Server{{URL: "stun:127.0.0.1:" + startRelay(t)}}
	nat, err := a.paths.Probe(t.Context(), servers)
	if err != nil {
		t.Fatal(err)
	}
	want := call.NAT{Mapping: call.MappingNone, Public: netip.MustParseAddrPort(a.sock.LocalAddr().String())}
	if nat != want {
		t.Errorf("got %+v, want %+v", nat, want)
	}
	if a.paths.NAT() != nat {
		t.Error("NAT does not return the result of the last Probe")
	}
	silent := listen(t, "127.0.0.1:0")
	nat, err = a.paths.Probe(t.Context(), []path.Server{{URL: "stun:" + silent.LocalAddr().String()}})
	if err != nil || !nat.UDPBlocked {
		t.Errorf("no server responds: %+v, %v; want UDP blocked", nat, err)
	}
	if _, err := a.paths.Probe(t.Context(), nil); !errors.Is(err, path.ErrNoSTUN) {
		t.Errorf("without a server: %v", err)
	}
}

func TestUnusableServersAreNamed(t *testing.T) {
	a := newPeer(t, "127.0.0.1:0")
	for _, s := range []path.Server{
		{URL: "http://example.org"},
		{URL: "stuns:127.0.0.1:1"},
		{URL: "turn:127.0.0.1:1"},
		{URL: "turns:127.0.0.1:1?transport=udp", Username: "u", Password: "p"},
	} {
		_, err := a.paths.NewAttempt(path.AttemptConfig{Servers: []path.Server{s}})
		if !errors.Is(err, path.ErrServer) || !strings.Contains(err.Error(), s.URL) {
			t.Errorf("%s: %v", s.URL, err)
		}
	}
}

func TestFailureIsExplained(t *testing.T) {
	a, b := newPeer(t, "127.0.0.1:0"), newPeer(t, "127.0.0.1:0")
	at, err := a.paths.NewAttempt(path.AttemptConfig{Controlling: true})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	peer, err := b.paths.NewAttempt(path.AttemptConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	d := peer.Local() // this peer never checks
	d.NAT.UDPBlocked = true
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = at.Connect(ctx, d)
	var e *path.Error
	if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if s := e.Explain(); !strings.Contains(s, "other side blocks UDP") || !strings.Contains(s, "No relay") {
		t.Errorf("explanation %q", s)
	}
}

// Close must end gathering although the TURN servers never respond.
func TestCloseEndsGatheringAtSilentRelays(t *testing.T) {
	a := newPeer(t, "127.0.0.1:0")
	silent := listen(t, "127.0.0.1:0")
	l, err := net.Listen("tcp4", "127.0.0.1:0") // accepts in the kernel and never responds
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at, err := a.paths.NewAttempt(path.AttemptConfig{Servers: []path.Server{
		{URL: "turn:" + silent.LocalAddr().String() + "?transport=udp", Username: "u", Password: "p"},
		{URL: "turn:" + l.Addr().String() + "?transport=tcp", Username: "u", Password: "p"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-silent.stun // the attempt has sent a request
	at.Close()
	if err := at.AddRemote(call.Candidate{
		Type: call.HostCandidate, Addr: netip.MustParseAddrPort("127.0.0.1:9"), Priority: 1,
	}); err == nil {
		t.Error("a closed attempt accepts a candidate")
	}
}
