package rvclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real rendezvous on loopback.
type server struct {
	link string // the join link
	stop func() // stops the server and waits for its end
}

// serve starts a rendezvous and stops it at the end of the test.
func serve(t *testing.T, c rendezvous.Config) *server {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	c.STUNListen = "127.0.0.1:0"
	if c.Data == "" {
		c.Data = t.TempDir()
	}
	ready := make(chan string, 1)
	c.OnReady = func(link string) { ready <- link }
	c.Logger = slog.New(slog.NewTextHandler(&logWriter{t: t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := rendezvous.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case link := <-ready:
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the rendezvous ended with: %v", err)
			}
		})
		t.Cleanup(stop)
		return &server{link: link, stop: stop}
	case err := <-done:
		cancel()
		t.Fatalf("start the rendezvous: %v", err)
		return nil
	}
}

// logWriter writes log lines to stderr if the tests run with -v, until the test
// ends.
type logWriter struct{ t *testing.T }

func (w *logWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil && testing.Verbose() {
		fmt.Fprintf(os.Stderr, "%s: %s", w.t.Name(), p)
	}
	return len(p), nil
}

// agent is a running client with the messages and states that it has reported.
type agent struct {
	*rvclient.Client
	id       ident.PeerID
	messages chan string // the sender's short PeerID, a space and the body
	states   chan rvclient.State
	stop     func() // stops the client and waits for its end
}

// join starts a client whose key depends on seed. It stops the client at the end
// of the test.
func join(t *testing.T, link string, seed byte) *agent {
	t.Helper()
	return joinFrom(t, link, seed, "")
}

// from returns a dialer with a source address. If source is "", the kernel chooses
// the address.
func from(source string) *net.Dialer {
	d := &net.Dialer{}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	return d
}

// joinFrom is like join, but the client connects from that source address.
func joinFrom(t *testing.T, link string, seed byte, source string) *agent {
	t.Helper()
	key, err := ident.KeyFromSeed(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{id: key.ID(), messages: make(chan string, 100), states: make(chan rvclient.State, 100)}
	a.Client, err = rvclient.New(rvclient.Config{
		URL: link, Key: key, Name: fmt.Sprintf("agent %d", seed),
		Logger:    slog.New(slog.NewTextHandler(&logWriter{t: t}, nil)),
		Dial:      from(source).DialContext,
		OnMessage: func(from ident.PeerID, body []byte) { a.messages <- from.Short() + " " + string(body) },
		OnState:   func(s rvclient.State) { a.states <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of agent %d: %v", seed, err)
		}
	})
	t.Cleanup(a.stop)
	return a
}

// await waits for a state that fulfils the condition, which what describes.
func (a *agent) await(t *testing.T, what string, condition func(rvclient.State) bool) rvclient.State {
	t.Helper()
	timeout := time.NewTimer(waittest.Timeout)
	defer timeout.Stop()
	for {
		select {
		case s := <-a.states:
			if condition(s) {
				return s
			}
		case <-timeout.C:
			t.Fatalf("not %s within %v; the state is %+v", what, waittest.Timeout, a.State())
		}
	}
}

func (a *agent) connected(t *testing.T) *agent {
	t.Helper()
	a.await(t, "connected", func(s rvclient.State) bool { return s.Connected })
	return a
}

func (a *agent) expect(t *testing.T, want string) {
	t.Helper()
	timeout := time.NewTimer(waittest.Timeout)
	defer timeout.Stop()
	select {
	case got := <-a.messages:
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	case <-timeout.C:
		t.Fatalf("%q did not arrive within %v", want, waittest.Timeout)
	}
}

// allow lets two agents find and signal each other.
func allow(t *testing.T, a, b *agent) {
	t.Helper()
	if err := errors.Join(a.Allow(t.Context(), b.id), b.Allow(t.Context(), a.id)); err != nil {
		t.Fatal(err)
	}
}

func TestAgentsSignalAfterConsent(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	a, b := join(t, s.link, 1).connected(t), join(t, s.link, 2).connected(t)

	if _, err := a.Lookup(t.Context(), b.id); !errors.Is(err, rvclient.ErrNotAllowed) {
		t.Errorf("lookup before consent: %v", err)
	}
	if err := a.Send(t.Context(), b.id, []byte("hello")); !errors.Is(err, rvclient.ErrNotAllowed) {
		t.Errorf("send before consent: %v", err)
	}
	allow(t, a, b)
	if p, err := a.Lookup(t.Context(), b.id); err != nil || !p.Online || p.Name != "agent 2" {
		t.Errorf("lookup: %+v, %v", p, err)
	}
	for _, body := range []string{"one", "two", strings.Repeat("x", 32<<10)} {
		if err := a.Send(t.Context(), b.id, []byte(body)); err != nil {
			t.Fatalf("send: %v", err)
		}
		b.expect(t, a.id.Short()+" "+body)
	}
	if err := b.Send(t.Context(), a.id, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	a.expect(t, b.id.Short()+" answer")
	if list, err := a.Allowed(t.Context()); err != nil || len(list) != 1 || list[0] != b.id {
		t.Errorf("allowed: %v, %v", list, err)
	}
	if err := a.Disallow(t.Context(), b.id); err != nil {
		t.Error(err)
	}
}

func TestOfflinePeerIsReported(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	a := join(t, s.link, 1).connected(t)
	t.Run("b comes and goes", func(t *testing.T) {
		b := join(t, s.link, 2).connected(t)
		allow(t, a, b)
	})
	list, err := a.Allowed(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("allowed: %v, %v", list, err)
	}
	b := list[0]
	// Until the rendezvous notices that b is gone, messages are not confirmed.
	waittest.Until(t, "the rendezvous reports that the peer is offline", func() bool {
		err := a.Send(t.Context(), b, []byte("x"))
		if err == nil || !errors.Is(err, rvclient.ErrPeerOffline) && !errors.Is(err, rvclient.ErrUnconfirmed) {
			t.Fatalf("send to an offline peer: %v", err)
		}
		return errors.Is(err, rvclient.ErrPeerOffline)
	})
	if p, err := a.Lookup(t.Context(), b); err != nil || p.Online {
		t.Errorf("lookup: %+v, %v", p, err)
	}
}

func TestAgentsSurviveRestartOfRendezvous(t *testing.T) {
	testRestart(t, func(data string) string { return data })
}

func TestAgentsSurviveRestoredRendezvous(t *testing.T) {
	testRestart(t, func(data string) string {
		var backup bytes.Buffer
		if err := rendezvous.Backup(t.Context(), rendezvous.Config{Data: data}, &backup); err != nil {
			t.Fatal(err)
		}
		restored := t.TempDir()
		if _, err := rendezvous.Restore(t.Context(), rendezvous.Config{Data: restored}, &backup, false); err != nil {
			t.Fatal(err)
		}
		return restored
	})
}

// testRestart stops a rendezvous and starts it again with the data directory that
// newData returns. Two agents must be able to continue.
func testRestart(t *testing.T, newData func(data string) string) {
	t.Helper()
	data, address := t.TempDir(), loopbacktest.Address().String()
	s := serve(t, rendezvous.Config{Data: data, Listen: address})
	a, b := join(t, s.link, 1).connected(t), join(t, s.link, 2).connected(t)
	allow(t, a, b)
	first := s.link
	s.stop()
	lost := a.await(t, "disconnected", func(s rvclient.State) bool { return !s.Connected })
	if lost.Reason == "" {
		t.Error("the state has no reason")
	}
	if err := a.Send(t.Context(), b.id, []byte("x")); !errors.Is(err, rvclient.ErrNotConnected) {
		t.Errorf("send while the rendezvous is stopped: %v", err)
	}
	if s = serve(t, rendezvous.Config{Data: newData(data), Listen: address}); s.link != first {
		t.Errorf("the join link changed from %s to %s", first, s.link)
	}
	a.connected(t)
	b.connected(t)
	if err := a.Send(t.Context(), b.id, []byte("again")); err != nil {
		t.Fatal(err)
	}
	b.expect(t, a.id.Short()+" again")
}

func TestProbeReplacesDeadConnection(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	tap := newTap(t, s.link)
	a, b := join(t, tap.link, 1).connected(t), join(t, s.link, 2).connected(t)
	allow(t, a, b)
	tap.stall() // like a NAT that has lost its mappings
	a.Probe()
	lost := a.await(t, "disconnected", func(s rvclient.State) bool { return !s.Connected })
	if !strings.Contains(lost.Reason, "does not answer") {
		t.Errorf("the reason is %q", lost.Reason)
	}
	a.connected(t)
	if err := b.Send(t.Context(), a.id, []byte("still there?")); err != nil {
		t.Fatal(err)
	}
	a.expect(t, b.id.Short()+" still there?")
}

func TestAgentWithoutInviteIsRefused(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	link, _, _ := strings.Cut(s.link, "#")
	pin := s.link[strings.Index(s.link, "pin="):]
	a := join(t, link+"#"+pin, 1)
	want := api.NewProblem(api.CodeInviteNeeded)
	if _, err := a.Allowed(t.Context()); !errors.Is(err, rvclient.ErrRefused) || !errors.Is(err, want) {
		t.Errorf("REST call without an invite: %v", err)
	}
	refused := a.await(t, "refused", func(s rvclient.State) bool { return s.Reason != "" })
	if refused.Connected || !strings.Contains(refused.Reason, rvclient.ErrRefused.Error()) {
		t.Errorf("state %+v", refused)
	}
}

func TestWrongPinIsRefused(t *testing.T) {
	s, other := serve(t, rendezvous.Config{}), serve(t, rendezvous.Config{})
	base, _, _ := strings.Cut(s.link, "#")
	_, fragment, _ := strings.Cut(other.link, "#")
	a := join(t, base+"#"+fragment, 1)
	a.await(t, "refused", func(s rvclient.State) bool { return strings.Contains(s.Reason, "its key differs") })
}

func TestSecondAgentReplacesFirstWithSameKey(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	a := join(t, s.link, 1).connected(t)
	join(t, s.link, 1).connected(t)
	a.await(t, "replaced", func(s rvclient.State) bool { return strings.Contains(s.Reason, "same key") })
}

func TestRelayServersHaveCredentials(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	a := join(t, s.link, 1).connected(t)
	servers, err := a.RelayServers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(servers.STUN) != 2 || len(servers.TURN) != 3 || servers.Username == "" || servers.Password == "" ||
		time.Until(servers.Expires) < time.Minute {
		t.Errorf("servers: %d STUN, %d TURN, until %s", len(servers.STUN), len(servers.TURN), servers.Expires)
	}
}

func TestMailboxCarriesPairing(t *testing.T) {
	s := serve(t, rendezvous.Config{})
	host, client := join(t, s.link, 1).connected(t), join(t, s.link, 2).connected(t)
	owner, guest := host.Mailboxes(), client.Mailboxes()
	ctx := t.Context()
	m, err := owner.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	try, err := guest.Try(ctx, m.Address, []byte("opening"))
	if err != nil {
		t.Fatal(err)
	}
	tries, err := owner.Tries(ctx, m.Address, 0)
	if err != nil || len(tries) != 1 || string(tries[0].Opening) != "opening" || tries[0].Peer != client.id {
		t.Fatalf("tries: %+v, %v", tries, err)
	}
	if err := owner.Answer(ctx, m.Address, try.Number, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	if got, err := guest.Result(ctx, m.Address, try.Number); err != nil || string(got.Answer) != "answer" {
		t.Fatalf("answer: %+v, %v", got, err)
	}
	if err := guest.Confirm(ctx, m.Address, try.Number, []byte("confirmation")); err != nil {
		t.Fatal(err)
	}
	if got, err := owner.Result(ctx, m.Address, try.Number); err != nil || string(got.Confirmation) != "confirmation" {
		t.Fatalf("confirmation: %+v, %v", got, err)
	}
	if err := owner.Close(ctx, m.Address); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Try(ctx, m.Address, []byte("late")); !errors.Is(err, rvclient.ErrNoMailbox) {
		t.Errorf("a try at a closed mailbox: %v", err)
	}
}
