package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi/localapitest"
	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// machine runs commands. Its socket may have a scripted agent.
type machine struct {
	socket string
	in     string // the standard input
}

// with returns a machine whose socket a scripted agent serves.
func with(t *testing.T, b *localapitest.Backend) machine {
	t.Helper()
	m := alone(t)
	s, err := localapi.NewServer(localapi.Config{Socket: m.socket, Backend: b.Backend()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m
}

// alone returns a machine without an agent.
func alone(t *testing.T) machine {
	return machine{socket: filepath.Join(t.TempDir(), "s.sock")}
}

// run runs a command line and returns the exit code and both outputs.
func (m machine) run(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr logtest.Journal
	p := &program{
		ctx: t.Context(), in: strings.NewReader(m.in), out: &stdout, err: &stderr,
		now: func() time.Time { return now }, paths: paths{state: t.TempDir(), socket: m.socket},
	}
	code = p.run(args)
	return code, stdout.String(), stderr.String()
}

var workshop = ident.PeerID{1, 2, 3}

// script returns a backend with a value for everything that commands show.
func script() *localapitest.Backend {
	return &localapitest.Backend{
		Found: []doctor.Finding{doctor.Good("certificate", "until 2046"), doctor.Note("IPv6", "", "there is none")},
		Now:   status(),
		Local: []localapi.Device{
			{
				ID: "2-1", Name: "Kingston DataTraveler", VendorID: 0x0951, ProductID: 0x1666, Kind: "disk",
				Speed: "480 Mbit/s", Share: &localapi.Share{With: []string{"lab"}}, UsedBy: "lab",
			},
			{ID: "2-2", Name: "Evil \x1b[2J\nkeyboard", InUse: "the console uses it"},
			{ID: "2-3", Name: "Mouse"},
		},
		Known: []localapi.Peer{
			{ID: workshop, Name: "workshop", PairedAt: now, Addresses: []string{"tls://w:7574"}, Connected: true},
		},
		Remote: []localapi.RemoteDevice{
			{Peer: "workshop", ID: "1-1", Name: "Disk", InUseBy: "lab"},
			{Peer: "workshop", ID: "1-2", Name: "Key", Used: true},
			{Peer: "lab", ID: "1-1"},
		},
		Shared: localapi.Share{Device: "2-1", With: []string{"workshop"}},
		Used: localapi.Use{
			ID: "workshop/1-1", Peer: "workshop", Device: "1-1", Name: "Disk", State: localapi.UseAttached, Port: 3,
		},
		Paired: localapi.Peer{ID: workshop, Name: "workshop", Addresses: []string{"tls://w:7574"}, Limit: 8e6},
	}
}

func status() localapi.Status {
	return localapi.Status{
		Self: localapi.Self{
			ID: workshop, Name: "desk", Version: "1.2.3", Since: now.Add(-90 * time.Minute),
			Listen: []string{"udp 0.0.0.0:41641"},
		},
		Rendezvous: localapi.Rendezvous{Connected: true, Detail: "connected to https://rendezvous.example.org"},
		NAT:        "port-restricted NAT; UDP gets through",
		Peers: []localapi.PeerStatus{{
			ID: workshop, Name: "workshop", Session: "up for 3m", Up: true,
			WhyNoBetter: "no relay and no NAT in between",
			Link: &localapi.Link{
				Rank: "direct, through both NATs", Transport: "quic",
				Local: "192.0.2.1:41641", Remote: "198.51.100.7:9", Encrypted: true, RTTMillis: 12.34, Loss: 0.015,
				BytesSent: 1_234_567, BytesReceived: 999, Since: now.Add(-time.Minute),
			},
			Attachments: []string{"2-1 Kingston DataTraveler"}, Limit: 20e6,
		}, {
			ID: workshop, Name: "lab", Session: "no link",
			Link: &localapi.Link{Rank: "direct TCP, not encrypted", Transport: "tcp", Relay: "203.0.113.1:443"},
		}},
		Uses: []localapi.Use{
			{ID: "workshop/2-1", Name: "Disk", State: localapi.UseAttached, Since: now.Add(-time.Hour), Limit: 500e3},
			{
				ID: "workshop/2-2", Name: "Key", State: localapi.UseWaiting, Reason: "workshop is not connected",
				Port: -1, Since: now.Add(-5 * time.Second),
			},
			{
				ID: "workshop/2-3", State: localapi.UseAttached, Endpoint: true, BusID: "1-7",
				Address: "127.0.0.1:3240", Port: -1,
			},
		},
		Exports: []localapi.Export{
			{Device: "1-1", Name: "Scanner", Peer: "workshop", Since: now.Add(-72 * time.Hour)},
		},
	}
}

// commandTest is a command line, the call that the agent receives, and texts of the
// output.
type commandTest struct {
	method  string
	request any
	output  []string
}

var commandTests = map[string]commandTest{
	"devices": {"Devices", nil, []string{
		"Kingston DataTraveler", "0951:1666", "used by lab; shared with lab", "in use here: the console uses it",
		"not shared",
	}},
	"share 2-1": {"Share", localapi.ShareRequest{Device: "2-1"}, []string{"2-1 is shared with workshop."}},
	"share 2-1 --for 8h": {
		"Share", localapi.ShareRequest{Device: "2-1", Until: now.Add(8 * time.Hour)}, nil,
	},
	"share 2-1 --with a,b --with lab --force": {
		"Share", localapi.ShareRequest{Device: "2-1", With: []string{"a,b", "lab"}, Force: true}, nil,
	},
	"unshare 0951:1666": {"Unshare", "0951:1666", []string{"0951:1666 is no longer shared."}},
	"peers":             {"Peers", nil, []string{"workshop", workshop.String(), "connected", "tls://w:7574"}},
	"forget workshop":   {"Forget", "workshop", []string{"workshop is forgotten"}},
	"reach workshop tls://w": {
		"Reach",
		localapi.ReachRequest{Peer: "workshop", Addresses: []string{"tls://w:7574"}},
		[]string{"workshop is also tried at tls://w:7574."},
	},
	"reach workshop --clear": {
		"Reach", localapi.ReachRequest{Peer: "workshop", Addresses: []string{}}, nil,
	},
	"limit workshop 20Mbit/s": {
		"Limit",
		localapi.LimitRequest{Peer: "workshop", Limit: 20e6},
		[]string{"Data to and from workshop are limited to 8 Mbit/s each."},
	},
	"limit workshop none": {"Limit", localapi.LimitRequest{Peer: "workshop"}, nil},
	"ls":                  {"RemoteDevices", "", []string{"in use: lab", "used here", "free"}},
	"ls workshop":         {"RemoteDevices", "workshop", nil},
	"use workshop 1-1": {
		"Use",
		localapi.UseRequest{Peer: "workshop", Device: "1-1"},
		[]string{"Disk (1-1) of workshop is attached to vhci port 3.", "easyfind release workshop/1-1"},
	},
	"use workshop 1-1 --endpoint": {
		"Use", localapi.UseRequest{Peer: "workshop", Device: "1-1", Endpoint: true}, nil,
	},
	"use workshop 1-1 --limit 1.5M": {
		"Use", localapi.UseRequest{Peer: "workshop", Device: "1-1", Limit: 1_500_000}, nil,
	},
	"release workshop/1-1": {"Release", "workshop/1-1", []string{"workshop/1-1 is released."}},
	"pair":                 {"OfferPairing", nil, []string{"Paired with workshop", "easyfind share"}},
	"doctor":               {"Doctor", nil, []string{"✓ certificate  until 2046", "– IPv6         there is none"}},
	"status": {"Status", nil, []string{
		"desk", "up 1h30m", "port-restricted",
		"direct, through both NATs: quic, 192.0.2.1:41641 → 198.51.100.7:9, encrypted",
		"round trip 12.3 ms, loss 1.5 %, sent 1.2 MB, received 999 B, for 1m00s", "no relay and no NAT in between",
		"limit     20 Mbit/s in each direction", "attached to vhci port 0, at most 500 kbit/s",
		"NOT ENCRYPTED", "relay 203.0.113.1:443", "attached to vhci port 0", "waiting", "workshop is not connected",
		"offered as 1-7 on 127.0.0.1:3240", "Scanner", "3d",
	}},
}

func TestCommands(t *testing.T) {
	for line, c := range commandTests {
		t.Run(line, func(t *testing.T) { testCommand(t, strings.Fields(line), c) })
	}
}

// testCommand runs a command for a person and with --json.
func testCommand(t *testing.T, args []string, c commandTest) {
	t.Helper()
	b := script()
	m := with(t, b)
	code, out, errOut := m.run(t, args...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	want := []localapitest.Call{{Method: c.method, Request: c.request}}
	if diff := cmp.Diff(want, b.Calls()); diff != "" {
		t.Error("calls, wanted (-) and received by the agent (+):\n", diff)
	}
	for _, text := range c.output {
		if !strings.Contains(out, text) {
			t.Errorf("%q is missing in\n%s", text, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\r") {
		t.Errorf("control characters reach the terminal: %q", out)
	}
	code, out, _ = m.run(t, append(args, "--json")...)
	var document any
	if err := json.Unmarshal([]byte(out), &document); code != 0 || err != nil {
		t.Errorf("--json: exit code %d, %v in\n%s", code, err, out)
	}
}

func TestTablesAreAligned(t *testing.T) {
	_, out, _ := with(t, script()).run(t, "devices")
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	column := strings.Index(lines[0], "STATE")
	for _, line := range lines[1:] {
		if runes := []rune(line); len(lines) != 4 || runes[column-1] != ' ' || runes[column] == ' ' {
			t.Errorf("%d lines, STATE not at %d in %q", len(lines), column, line)
		}
	}
}

func TestEmptyListsGiveAdvice(t *testing.T) {
	m := with(t, &localapitest.Backend{})
	for command, want := range map[string]string{
		"devices": "No USB device is plugged in", "peers": "easyfind pair", "ls": "easyfind share",
		"status": "easyfind pair",
	} {
		if code, out, _ := m.run(t, command); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: %d, %q, want %q in it", command, code, out, want)
		}
	}
}

// TestProblemsAreReported checks the sentence for a person, the exit code, and the JSON
// document for programs.
func TestProblemsAreReported(t *testing.T) {
	b := script()
	b.Err = &localapi.Problem{
		Code:   localapi.CodeInUse,
		Detail: "2-1 is in use (sda1 is mounted on /mnt): unmount it, or share it with --force",
	}
	m := with(t, b)
	for _, line := range []string{"share 2-1", "use workshop 2-1", "pair", "status", "forget x"} {
		code, out, errOut := m.run(t, strings.Fields(line)...)
		if code != 5 || out != "" || errOut != "easyfind: "+b.Err.Error()+"\n" {
			t.Errorf("%s: %d, %q, %q", line, code, out, errOut)
		}
		code, out, _ = m.run(t, append(strings.Fields(line), "--json")...)
		var got localapi.Problem
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 5 || got.Code != localapi.CodeInUse {
			t.Errorf("%s --json: %d, %q, %v", line, code, out, err)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	b := script()
	m := with(t, b)
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("colour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"sttaus":                    "easyfind --help",
		"share":                     "<device>",
		"share 2-1 --for -1h":       "--for",
		"share 2-1 --for tomorrow":  "--for",
		"use workshop":              "<device>",
		"status --colour":           "--colour",
		"pair K7M":                  "not an EasyFind address",
		"reach workshop":            "--clear",
		"reach workshop tls://a -x": "-x",
		"reach workshop ftp://a":    "tls://HOST:7574",
		"up --log-level loud":       "--log-level",
		"status --config " + broken: `unknown key "colour"`,
		"status --config /no/file":  "no such file",
	} {
		code, out, errOut := m.run(t, strings.Fields(line)...)
		if code != 2 || out != "" || !strings.Contains(errOut, want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: %d, %q, %q, want %q on one line", line, code, out, errOut, want)
		}
	}
	if calls := b.Calls(); len(calls) != 0 {
		t.Errorf("wrong command lines reached the agent: %v", calls)
	}
}

func TestCommandWithoutAgentSaysHowToStartIt(t *testing.T) {
	code, out, errOut := alone(t).run(t, "status")
	if code != 3 || out != "" || !strings.HasSuffix(errOut, "start it with: easyfind up\n") {
		t.Errorf("%d, %q, %q", code, out, errOut)
	}
}

func TestSocketFromEnvironment(t *testing.T) {
	m := with(t, script())
	t.Setenv("EASYFIND_SOCKET", m.socket)
	if code, _, errOut := alone(t).run(t, "status"); code != 0 {
		t.Errorf("%d, %s", code, errOut)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	m := alone(t)
	_, all, _ := m.run(t)
	commands := regexp.MustCompile(`(?m)^  ([a-z]+) {2,}`).FindAllStringSubmatch(all, -1)
	if len(commands) != 15 || !strings.Contains(all, "Exit codes") {
		t.Errorf("%d commands, want 15, in\n%s", len(commands), all)
	}
	for _, c := range commands {
		code, out, errOut := m.run(t, c[1], "--help")
		if code != 0 || !strings.Contains(out, "Usage: easyfind "+c[1]) || errOut != "" {
			t.Errorf("%s --help: %d, %q, %q", c[1], code, out, errOut)
		}
	}
	if code, out, _ := m.run(t, "version"); code != 0 || !strings.HasPrefix(out, "easyfind ") {
		t.Errorf("version: %d, %q", code, out)
	}
}

func TestDefaultPaths(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(key string) string {
			for _, p := range pairs {
				if k, v, _ := strings.Cut(p, "="); k == key {
					return v
				}
			}
			return ""
		}
	}
	for name, c := range map[string]struct {
		uid  int
		env  func(string) string
		want paths
	}{
		"root": {
			0, env("XDG_RUNTIME_DIR=/run/user/0", "HOME=/root"),
			paths{"/var/lib/easyfind", "/run/easyfind/easyfind.sock"},
		},
		"login session": {
			1000, env("XDG_RUNTIME_DIR=/run/user/1000", "HOME=/home/a"),
			paths{"/home/a/.local/state/easyfind", "/run/user/1000/easyfind/easyfind.sock"},
		},
		"no login session": {
			1000, env("HOME=/home/a", "XDG_STATE_HOME=relative"),
			paths{"/home/a/.local/state/easyfind", "/home/a/.local/state/easyfind/easyfind.sock"},
		},
		"state directory set": {
			1000, env("HOME=/home/a", "XDG_STATE_HOME=/s"), paths{"/s/easyfind", "/s/easyfind/easyfind.sock"},
		},
	} {
		if got := defaultPaths(c.uid, c.env); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAmount(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1_500_000_000: "1.5 GB",
		1<<64 - 1: "18.4 EB",
	} {
		if got := amount(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
