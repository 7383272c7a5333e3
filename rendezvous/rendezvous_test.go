package rendezvous

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
)

// instance is a running server.
type instance struct {
	t     *testing.T
	link  string // once it was awaited
	log   *logtest.Journal
	ready chan string
	done  chan error
	stop  func()
}

func local(t *testing.T) Config {
	t.Helper()
	return Config{Listen: "127.0.0.1:0", STUNListen: "127.0.0.1:0", Data: t.TempDir(), Name: "test"}
}

// start runs a server until the test ends.
func start(t *testing.T, c Config) *instance {
	t.Helper()
	i := begin(t, c)
	i.await()
	return i
}

// startLogging runs a server with a logger until the test ends.
func startLogging(t *testing.T, c Config, log *slog.Logger) *instance {
	t.Helper()
	c.Logger = log
	return start(t, c)
}

// begin runs a server until the test ends, without waiting for it.
func begin(t *testing.T, c Config) *instance {
	t.Helper()
	i := &instance{t: t, log: &logtest.Journal{}, ready: make(chan string, 1), done: make(chan error, 1)}
	c.OnReady = func(link string) { i.ready <- link }
	if c.Logger == nil {
		c.Logger = i.log.Logger()
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { i.done <- s.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-i.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(i.stop)
	return i
}

// startBehind runs a server until the test ends, behind a forwarder.
func startBehind(t *testing.T, f *forwarder, c Config) *instance {
	t.Helper()
	i := begin(t, c)
	f.to(i.address("the rendezvous is serving"))
	i.await()
	return i
}

// await waits until the server has printed its join link.
func (i *instance) await() {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waittest.Timeout)
	defer cancel()
	select {
	case i.link = <-i.ready:
	case err := <-i.done:
		i.done <- nil
		i.t.Fatalf("start: %v", err)
	case <-ctx.Done():
		i.t.Fatalf("the server is not ready after %v: %s", waittest.Timeout, i.log)
	}
}

// address returns the address in the log record with a message. Each listener has
// such a record.
func (i *instance) address(message string) string {
	i.t.Helper()
	return i.logged(message, "addr")
}

// logged returns an attribute of the log record with a message. It waits for the record.
func (i *instance) logged(message, key string) string {
	i.t.Helper()
	start := "msg=\"" + message + "\""
	i.log.Await(i.t, start)
	_, record, _ := strings.Cut(i.log.String(), start)
	record, _, _ = strings.Cut(record, "\n")
	_, value, ok := strings.Cut(record, " "+key+"=")
	if !ok {
		i.t.Fatalf("the log record %q has no attribute %s: %s", message, key, record)
	}
	return strings.Fields(value)[0]
}

// signals sends a message from a to b, which confirms it.
func signals(t *testing.T, a, b *peer, body string) {
	t.Helper()
	a.write(signal.Send{ID: 1, To: b.key.ID(), Body: []byte(body)})
	got, ok := b.read().(signal.Deliver)
	if !ok || got.From != a.key.ID() || string(got.Body) != body {
		t.Fatalf("got %#v", got)
	}
	b.write(signal.Got{Number: got.Number})
	if m := a.read(); m != (signal.Sent{ID: 1}) {
		t.Fatalf("got %#v, want Sent", m)
	}
}

func TestPeersSignalThroughOneInstance(t *testing.T) {
	i := start(t, local(t))
	a, b := newPeer(t, i.link, 1).connect(), newPeer(t, i.link, 2).connect()
	b.allow(a)
	waittest.Until(t, "a sees b", func() bool { return a.online(b) })
	signals(t, a, b, "hello")
	for _, secret := range append(a.secrets(), b.secrets()...) {
		if strings.Contains(i.log.String(), secret) {
			t.Errorf("the log contains a secret")
		}
	}
}

func TestPeersSignalThroughTwoInstances(t *testing.T) {
	url := postgres(t)
	var both [2]*instance
	for n := range both {
		c := local(t)
		c.DatabaseURL, c.ClusterListen = url, "127.0.0.1:0"
		both[n] = start(t, c)
	}
	a, b := newPeer(t, both[0].link, 1).connect(), newPeer(t, both[1].link, 2).connect()
	a.allow(b)
	b.allow(a)
	waittest.Until(t, "a sees b", func() bool { return a.online(b) })
	waittest.Until(t, "b sees a", func() bool { return b.online(a) })
	signals(t, a, b, "there")
	signals(t, b, a, "and back")

	both[1].stop()
	a.write(signal.Send{ID: 9, To: b.key.ID(), Body: []byte("too late")})
	if m, ok := a.read().(signal.SendFailed); !ok || m.ID != 9 {
		t.Errorf("message to a peer whose instance has stopped: %#v", m)
	}
}

func TestTURNOverTLSUsesHTTPSPort(t *testing.T) {
	i := start(t, local(t))
	p := newPeer(t, i.link, 1)
	for name, alpn := range map[string]string{"by ALPN": "stun.turn", "by its first byte": ""} {
		t.Run(name, func(t *testing.T) {
			conn := p.dial(alpn)
			// A Binding request without attributes (RFC 8489 section 5).
			request, err := hex.DecodeString("000100002112a442" + "0102030405060708090a0b0c")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, 20)
			if _, err := io.ReadFull(conn, answer); err != nil {
				t.Fatal(err)
			}
			if answer[0] != 1 || answer[1] != 1 || !bytes.Equal(answer[8:], request[8:]) {
				t.Errorf("answer %x", answer)
			}
		})
	}
}

func TestRegistrationWorksWithoutALPN(t *testing.T) {
	i := start(t, local(t))
	p := newPeer(t, i.link, 1)
	p.registerOver("") // the registration is bound to the TLS connection
	p.connect()
}

func TestFilesArePrivateAndSurviveRestart(t *testing.T) {
	c := local(t)
	public := newForwarder(t)
	c.PublicURL, c.RelayIP = "https://"+public.address(), "127.0.0.1"
	first := startBehind(t, public, c)
	p := newPeer(t, first.link, 1)
	kept, err := KeptJoinLink(c.Data)
	if err != nil || kept != first.link {
		t.Errorf("stored link %q, %v", kept, err)
	}
	first.stop()
	files, err := os.ReadDir(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", f.Name(), info.Mode())
		}
	}
	if second := startBehind(t, public, c); second.link != first.link {
		t.Error("the join link changed")
	}
	p.connect() // it need not register again
}

func TestJoinLinkOfOpenServerHasNoInvite(t *testing.T) {
	c := local(t)
	c.Open = true
	i := start(t, c)
	if strings.Contains(i.link, "invite") {
		t.Error("the link has an invite")
	}
	newPeer(t, i.link, 1).connect()
}

// TestAnnouncedServerIsReady checks the health as soon as the server has printed its join
// link. A reverse proxy that starts then must not find the server unavailable.
func TestAnnouncedServerIsReady(t *testing.T) {
	p, _ := follow(t, start(t, local(t)).link)
	if status, answer := p.asks(http.MethodGet, api.PathReady, nil); status != http.StatusOK {
		t.Errorf("%s: %d: %s", api.PathReady, status, answer)
	}
}

func TestStopIsLogged(t *testing.T) {
	i := start(t, local(t))
	newPeer(t, i.link, 1).connect()
	i.stop()
	log := i.log.String()
	began, ended := strings.Index(log, "the rendezvous is stopping"), strings.Index(log, "has stopped")
	if began < 0 || ended < began || !strings.Contains(log[began:ended], "peers=1") {
		t.Errorf("the log is:\n%s", log)
	}
}

func TestWrongSettingsAreExplained(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"--public-url":            func(c *Config) { c.PublicURL = "http://x" },
		"--relay-ip":              func(c *Config) { c.RelayIP = "2001:db8::1" },
		"--relay-allow":           func(c *Config) { c.RelayAllow = []string{"10.0.0.1/99"} },
		"--relay-ports":           func(c *Config) { c.RelayPorts = "9-8" },
		"--tls-cert and":          func(c *Config) { c.TLSCert = "x" },
		"--database-url: want":    func(c *Config) { c.DatabaseURL = "mysql://x" },
		"--cluster-listen is for": func(c *Config) { c.ClusterListen = ":1" },
		"--data":                  func(c *Config) { c.Data = "" },
		"--proxy-protocol":        func(c *Config) { c.ProxyProtocol = []string{"10.0.0.0/8", "lan"} },
		"--trusted-proxies \"":    func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/33"} },
		"--trusted-proxies: set":  func(c *Config) { c.TrustedProxies = []string{"10.0.0.1"} },
		"--http-listen is for":    func(c *Config) { c.HTTPListen = "127.0.0.1:0" },
		"--public-cert is":        func(c *Config) { c.PublicCert = "x" },
		"--public-cert: ": func(c *Config) {
			c.TrustedProxies, c.PublicURL, c.PublicCert = []string{"10.0.0.1"}, "https://x",
				filepath.Join(t.TempDir(), "none")
		},
		"--max-connections": func(c *Config) { c.PerSource = -1 },
	} {
		c := local(t)
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestFailedStartIsExplained(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	running := local(t)
	start(t, running)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"choose another with --listen":      func(c *Config) { c.Listen = busy.Addr().String() },
		"choose another with --stun-listen": func(c *Config) { c.STUNListen = busy.Addr().String() },
		"choose another with --http-listen": func(c *Config) {
			c.HTTPListen, c.TrustedProxies, c.PublicURL = busy.Addr().String(), []string{"127.0.0.1"},
				"https://127.0.0.1"
		},
		"choose another with --data":     func(c *Config) { c.Data = filepath.Join(file, "below") },
		"another rendezvous uses":        func(c *Config) { c.Data = running.Data },
		"certificate of --tls-cert":      func(c *Config) { c.TLSCert, c.TLSKey = file, file },
		"check that Postgres runs there": func(c *Config) { c.DatabaseURL = "postgres://x@127.0.0.1:1/x" },
	} {
		c := local(t)
		change(&c)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
