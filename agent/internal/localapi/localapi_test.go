package localapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi/localapitest"
	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the test ends or stop returns.
func serve(t *testing.T, b *localapitest.Backend) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "run", "s.sock")
	s, err := localapi.NewServer(localapi.Config{Socket: socket, Backend: b.Backend()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	}
	t.Cleanup(stop)
	return socket, stop
}

func script() *localapitest.Backend {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	id := ident.PeerID{1, 2, 3}
	return &localapitest.Backend{
		Found: []doctor.Finding{doctor.Good("a", "b"), doctor.Bad("c", "d", "e")},
		Now: localapi.Status{
			Self: localapi.Self{ID: id, Name: "desk", Version: "1", Since: now},
			Peers: []localapi.PeerStatus{
				{ID: id, Name: "workshop", Link: &localapi.Link{Rank: "direct", Loss: 0.25, RTTMillis: 1.5}},
			},
		},
		Local:  []localapi.Device{{ID: "2-1", Name: "Disk", VendorID: 0x951, Share: &localapi.Share{Device: "2-1"}}},
		Known:  []localapi.Peer{{ID: id, Name: "workshop", PairedAt: now}},
		Remote: []localapi.RemoteDevice{{Peer: "workshop", ID: "1-1"}},
		Shared: localapi.Share{Device: "2-1", With: []string{"workshop"}, Until: now},
		Used:   localapi.Use{ID: "workshop/1-1", State: localapi.UseAttached, Port: 3},
		Paired: localapi.Peer{ID: id, Name: "workshop"},
		Progress: []localapi.Progress{
			{Message: "connecting"}, {Offered: &localapi.Offer{Address: "K7M-2QX", PIN: "4821-9930", Expires: now}},
		},
	}
}

// api is the type of [localapi.Client] and of a scripted backend.
type api interface {
	localapi.Devices
	localapi.Peers
	localapi.Pairing
	localapi.Uses
	localapi.Reports
}

// TestCallsPassThroughSocket makes every call to a backend, and to another one
// through the socket.
func TestCallsPassThroughSocket(t *testing.T) {
	remote, direct := script(), script()
	socket, _ := serve(t, remote)
	client := localapi.NewClient(socket)
	odd := "ser/ial ?&=%\"é"
	for name, makeCall := range map[string]func(api, func(localapi.Progress)) (any, error){
		"status":  func(b api, _ func(localapi.Progress)) (any, error) { return b.Status(t.Context()) },
		"doctor":  func(b api, _ func(localapi.Progress)) (any, error) { return b.Doctor(t.Context()) },
		"devices": func(b api, _ func(localapi.Progress)) (any, error) { return b.Devices(t.Context()) },
		"share": func(b api, _ func(localapi.Progress)) (any, error) {
			return b.Share(t.Context(), localapi.ShareRequest{
				Device: odd, With: []string{"a", "b"}, Force: true, Until: time.Unix(1, 0).UTC(),
			})
		},
		"unshare": func(b api, _ func(localapi.Progress)) (any, error) {
			return nil, b.Unshare(t.Context(), odd)
		},
		"peers": func(b api, _ func(localapi.Progress)) (any, error) { return b.Peers(t.Context()) },
		"forget": func(b api, _ func(localapi.Progress)) (any, error) {
			return nil, b.Forget(t.Context(), odd)
		},
		"reach": func(b api, _ func(localapi.Progress)) (any, error) {
			return b.Reach(t.Context(), localapi.ReachRequest{Peer: odd, Addresses: []string{"tls://h:7574"}})
		},
		"limit": func(b api, _ func(localapi.Progress)) (any, error) {
			return b.Limit(t.Context(), localapi.LimitRequest{Peer: odd, Limit: 1 << 40})
		},
		"offer": func(b api, p func(localapi.Progress)) (any, error) {
			return b.OfferPairing(t.Context(), p)
		},
		"join": func(b api, p func(localapi.Progress)) (any, error) {
			return b.JoinPairing(t.Context(), localapi.JoinRequest{Address: "K7M-2QX", PIN: "4821-9930"}, p)
		},
		"remote": func(b api, _ func(localapi.Progress)) (any, error) {
			return b.RemoteDevices(t.Context(), odd)
		},
		"use": func(b api, p func(localapi.Progress)) (any, error) {
			return b.Use(t.Context(), localapi.UseRequest{Peer: "workshop", Device: odd, Endpoint: true}, p)
		},
		"release": func(b api, _ func(localapi.Progress)) (any, error) {
			return nil, b.Release(t.Context(), odd)
		},
	} {
		t.Run(name, func(t *testing.T) {
			type outcome struct {
				Result   any
				Progress []localapi.Progress
				Call     localapitest.Call
			}
			run := func(b api, called *localapitest.Backend) (o outcome) {
				var err error
				o.Result, err = makeCall(b, func(p localapi.Progress) { o.Progress = append(o.Progress, p) })
				if err != nil {
					t.Fatal(err)
				}
				calls := called.Calls()
				o.Call = calls[len(calls)-1]
				return o
			}
			if diff := cmp.Diff(run(direct, direct), run(client, remote)); diff != "" {
				t.Error("direct call (-), call through the socket (+):\n", diff)
			}
		})
	}
}

func TestProblemPassesThroughSocket(t *testing.T) {
	for code, exit := range map[localapi.Code]int{
		localapi.CodeFailed: 1, localapi.CodeInvalid: 2, localapi.CodeNotRunning: 3, localapi.CodeUnknown: 4,
		localapi.CodeInUse: 5, localapi.CodePermission: 6, localapi.CodePairing: 7, localapi.CodeUnreachable: 8,
		localapi.CodeNotSupported: 9, "of_a_later_version": 1,
	} {
		t.Run(string(code), func(t *testing.T) {
			want := &localapi.Problem{Code: code, Detail: "2-1 is in use: unmount it"}
			b := script()
			b.Err = fmt.Errorf("context for the log: %w", want)
			socket, _ := serve(t, b)
			client := localapi.NewClient(socket)
			_, short := client.Status(t.Context())
			_, long := client.Use(t.Context(), localapi.UseRequest{}, nil)
			for _, err := range []error{short, long, client.Release(t.Context(), "x")} {
				if diff := cmp.Diff(want, localapi.ProblemOf(err)); diff != "" || localapi.ExitCode(err) != exit {
					t.Errorf("%v, exit code %d, want %d\n%s", err, localapi.ExitCode(err), exit, diff)
				}
			}
		})
	}
	if err := errors.New("plain"); localapi.ExitCode(err) != 1 || localapi.ExitCode(nil) != 0 {
		t.Error("the exit code of a plain error is not 1, or that of no error is not 0")
	}
}

func TestHangingUpCancelsOperation(t *testing.T) {
	b := script()
	b.Wait = make(chan struct{})
	socket, _ := serve(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := localapi.NewClient(socket).Use(ctx, localapi.UseRequest{}, func(localapi.Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	waittest.Until(t, "the agent cancels the operation", func() bool {
		calls := b.Calls()
		return calls[len(calls)-1].Method == "Use cancelled"
	})
}

func TestStoppingAgentCancelsOperations(t *testing.T) {
	b := script()
	b.Wait = make(chan struct{})
	socket, stop := serve(t, b)
	reported := make(chan struct{}, 2)
	done := make(chan error, 1)
	go func() {
		report := func(localapi.Progress) { reported <- struct{}{} }
		_, err := localapi.NewClient(socket).OfferPairing(t.Context(), report)
		done <- err
	}()
	<-reported
	stop()
	if err := <-done; localapi.ProblemOf(err).Code != localapi.CodeNotRunning {
		t.Errorf("%v, want %s", err, localapi.CodeNotRunning)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestMissingAgentErrorSaysHowToStartIt(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	_, err := localapi.NewClient(socket).Status(t.Context())
	if localapi.ExitCode(err) != 3 || !strings.Contains(err.Error(), "easyfind up") {
		t.Errorf("%v, exit code %d", err, localapi.ExitCode(err))
	}
	dead := deadSocket(t)
	_, err = localapi.NewClient(dead).Use(t.Context(), localapi.UseRequest{}, nil)
	if localapi.ExitCode(err) != 3 || !strings.Contains(err.Error(), "easyfind up") {
		t.Errorf("dead socket: %v, exit code %d", err, localapi.ExitCode(err))
	}
}

// deadSocket returns a socket as a killed agent leaves it.
func deadSocket(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "dead.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return socket
}

func TestSocketIsPrivateAndNotStolen(t *testing.T) {
	live, _ := serve(t, script())
	if info, err := os.Stat(live); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: mode %v, %v, want 0600", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(live)); err != nil || len(left) != 1 {
		t.Errorf("the directory of the socket contains %v, %v", left, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for socket, want := range map[string]string{
		live:                               "another easyfind daemon",
		file:                               "another file has this name",
		"/tmp/" + strings.Repeat("x", 100): "too long",
	} {
		s, err := localapi.NewServer(localapi.Config{Socket: socket, Backend: script().Backend()})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--socket") {
			t.Errorf("%v, want an error with %q and advice", err, want)
		}
	}
	if _, err := localapi.NewClient(live).Status(t.Context()); err != nil {
		t.Errorf("the first agent no longer answers: %v", err)
	}

	dead := deadSocket(t)
	s, err := localapi.NewServer(localapi.Config{Socket: dead, Backend: script().Backend()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	if _, err := localapi.NewClient(dead).Status(t.Context()); err != nil {
		t.Errorf("the agent does not answer in place of the dead one: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestInvalidRequestsAreRefused(t *testing.T) {
	b := script()
	socket, _ := serve(t, b)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/shares", `{"device":"2-1","colour":"red"}`},
		{"POST", "/v1/shares", `{"device":`},
		{"POST", "/v1/uses", `{"device":"` + strings.Repeat("x", 70_000) + `"}`},
		{"DELETE", "/v1/shares", ``},
		{"GET", "/v2/status", ``},
		{"GET", "/", ``},
	} {
		body := strings.NewReader(c.body)
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://easyfind"+c.path, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		if err != nil || resp.Body.Close() != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(raw), `"code":"invalid"`) {
			t.Errorf("%s %s %.40s: %d %s", c.method, c.path, c.body, resp.StatusCode, raw)
		}
	}
	if calls := b.Calls(); len(calls) != 0 {
		t.Errorf("invalid requests reached the backend: %v", calls)
	}
}
