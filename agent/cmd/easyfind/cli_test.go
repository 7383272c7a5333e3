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

// machine runs commands against a scripted agent, or against none.
type machine struct {
	socket string
	in     string
	tty    bool
}

// with runs a server for the scripted agent.
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

func alone(t *testing.T) machine {
	return machine{socket: filepath.Join(t.TempDir(), "s.sock")}
}

// run runs one command line and returns what a person or a program gets.
func (m machine) run(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr logtest.Journal
	p := &program{
		ctx: t.Context(), in: strings.NewReader(m.in), out: &stdout, err: &stderr, outTTY: m.tty, errTTY: m.tty,
		now: func() time.Time { return now }, places: places{state: t.TempDir(), socket: m.socket},
	}
	code = p.run(args)
	return code, stdout.String(), stderr.String()
}

var workshop = ident.PeerID{1, 2, 3}

func script() *localapitest.Backend {
	return &localapitest.Backend{
		Found: []doctor.Finding{doctor.Good("certificate", "until 2046"), doctor.Note("IPv6", "", "there is none")},
		Now: localapi.Status{
			Self:       localapi.Self{ID: workshop, Name: "desk", Version: "1.2.3", Since: now.Add(-90 * time.Minute), Listen: []string{"udp 0.0.0.0:41641"}},
			Rendezvous: localapi.Rendezvous{Connected: true, Detail: "connected to https://rendezvous.example.org"},
			NAT:        "port-restricted NAT; UDP gets through",
			Peers: []localapi.PeerStatus{{
				ID: workshop, Name: "workshop", Session: "up for 3m", Up: true, WhyNoBetter: "it is the best one: no relay, no NAT in between",
				Link: &localapi.Link{
					Rank: "direct, through both NATs", Transport: "quic", Local: "192.0.2.1:41641", Remote: "198.51.100.7:9",
					Encrypted: true, RTTMillis: 12.34, Loss: 0.015, BytesSent: 1_234_567, BytesReceived: 999, Since: now.Add(-time.Minute),
				},
				Attachments: []string{"2-1 Kingston DataTraveler"},
			}, {ID: workshop, Name: "lab", Session: "no link", Link: &localapi.Link{Rank: "direct TCP, not encrypted", Transport: "tcp", Relay: "203.0.113.1:443"}}},
			Uses: []localapi.Use{
				{ID: "workshop/2-1", Name: "Disk", State: localapi.UseAttached, Port: 0, Since: now.Add(-time.Hour)},
				{ID: "workshop/2-2", Name: "Key", State: localapi.UseWaiting, Reason: "workshop is not connected", Port: -1, Since: now.Add(-5 * time.Second)},
				{ID: "workshop/2-3", State: localapi.UseAttached, Endpoint: true, BusID: "1-7", Address: "127.0.0.1:3240", Port: -1},
			},
			Exports: []localapi.Export{{Device: "1-1", Name: "Scanner", Peer: "workshop", Since: now.Add(-72 * time.Hour)}},
		},
		Local: []localapi.Device{
			{ID: "2-1", Name: "Kingston DataTraveler", VendorID: 0x0951, ProductID: 0x1666, Kind: "disk", Speed: "480 Mbit/s", Share: &localapi.Share{With: []string{"lab"}}, UsedBy: "lab"},
			{ID: "2-2", Name: "Evil \x1b[2J\nkeyboard", InUse: "the console uses it"},
			{ID: "2-3", Name: "Mouse"},
		},
		Known:  []localapi.Peer{{ID: workshop, Name: "workshop", PairedAt: now, Addresses: []string{"tls://w:7574"}, Connected: true}},
		Remote: []localapi.RemoteDevice{{Peer: "workshop", ID: "1-1", Name: "Disk", InUseBy: "lab"}, {Peer: "workshop", ID: "1-2", Name: "Key", Used: true}, {Peer: "lab", ID: "1-1"}},
		Shared: localapi.Share{Device: "2-1", With: []string{"workshop"}},
		Used:   localapi.Use{ID: "workshop/1-1", Peer: "workshop", Device: "1-1", Name: "Disk", State: localapi.UseAttached, Port: 3},
		Paired: localapi.Peer{ID: workshop, Name: "workshop", Addresses: []string{"tls://w:7574"}},
	}
}

// TestCommands: what is asked of the agent, and what a person reads.
func TestCommands(t *testing.T) {
	for line, c := range map[string]struct {
		call localapitest.Call
		want []string
	}{
		"devices":            {localapitest.Call{Method: "Devices"}, []string{"Kingston DataTraveler", "0951:1666", "used by lab; shared with lab", "in use here: the console uses it", "not shared"}},
		"share 2-1":          {localapitest.Call{Method: "Share", Request: localapi.ShareRequest{Device: "2-1"}}, []string{"2-1 is shared with workshop."}},
		"share 2-1 --for 8h": {localapitest.Call{Method: "Share", Request: localapi.ShareRequest{Device: "2-1", Until: now.Add(8 * time.Hour)}}, nil},
		"share 2-1 --with a,b --with lab --force": {
			localapitest.Call{Method: "Share", Request: localapi.ShareRequest{Device: "2-1", With: []string{"a,b", "lab"}, Force: true}}, nil,
		},
		"unshare 0951:1666":      {localapitest.Call{Method: "Unshare", Request: "0951:1666"}, []string{"0951:1666 is no longer shared."}},
		"peers":                  {localapitest.Call{Method: "Peers"}, []string{"workshop", workshop.String(), "connected", "tls://w:7574"}},
		"forget workshop":        {localapitest.Call{Method: "Forget", Request: "workshop"}, []string{"workshop is forgotten"}},
		"reach workshop tls://w": {localapitest.Call{Method: "Reach", Request: localapi.ReachRequest{Peer: "workshop", Addresses: []string{"tls://w:7574"}}}, []string{"workshop is also tried at tls://w:7574."}},
		"reach workshop --clear": {localapitest.Call{Method: "Reach", Request: localapi.ReachRequest{Peer: "workshop", Addresses: []string{}}}, nil},
		"ls":                     {localapitest.Call{Method: "RemoteDevices", Request: ""}, []string{"in use: lab", "used here", "free"}},
		"ls workshop":            {localapitest.Call{Method: "RemoteDevices", Request: "workshop"}, nil},
		"use workshop 1-1":       {localapitest.Call{Method: "Use", Request: localapi.UseRequest{Peer: "workshop", Device: "1-1"}}, []string{"Disk (1-1) of workshop is attached to vhci port 3.", "easyfind release workshop/1-1"}},
		"use workshop 1-1 --endpoint": {
			localapitest.Call{Method: "Use", Request: localapi.UseRequest{Peer: "workshop", Device: "1-1", Endpoint: true}}, nil,
		},
		"release workshop/1-1": {localapitest.Call{Method: "Release", Request: "workshop/1-1"}, []string{"workshop/1-1 is released."}},
		"pair k7m2qx 48219930": {localapitest.Call{Method: "JoinPairing"}, nil},
		"pair":                 {localapitest.Call{Method: "OfferPairing"}, []string{"Paired with workshop", "easyfind share"}},
		"doctor":               {localapitest.Call{Method: "Doctor"}, []string{"✓ certificate  until 2046", "– IPv6         there is none"}},
		"status":               {localapitest.Call{Method: "Status"}, []string{"desk", "up 1h30m", "port-restricted", "direct, through both NATs: quic, 192.0.2.1:41641 → 198.51.100.7:9, encrypted", "round trip 12.3 ms, loss 1.5 %, sent 1.2 MB, received 999 B, for 1m00s", "it is the best one", "NOT ENCRYPTED", "relay 203.0.113.1:443", "attached to vhci port 0", "waiting", "workshop is not connected", "offered as 1-7 on 127.0.0.1:3240", "Scanner", "3d"}},
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Fields(line)
			if line == "pair k7m2qx 48219930" {
				address, err := ident.NewAddress(strings.NewReader("abcdefgh"))
				if err != nil {
					t.Fatal(err)
				}
				args[1] = strings.ToLower(strings.ReplaceAll(string(address), "-", ""))
				c.call.Request = localapi.JoinRequest{Address: address, PIN: "4821-9930"}
			}
			b := script()
			m := with(t, b)
			code, out, errOut := m.run(t, args...)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, errOut)
			}
			if diff := cmp.Diff([]localapitest.Call{c.call}, b.Calls()); diff != "" {
				t.Error("asked of the agent, wanted (-) and got (+):\n", diff)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is missing in\n%s", want, out)
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
		})
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

func TestEmptyListsSayWhatToDo(t *testing.T) {
	m := with(t, &localapitest.Backend{})
	for command, want := range map[string]string{
		"devices": "No USB device is plugged in", "peers": "easyfind pair", "ls": "easyfind share", "status": "easyfind pair",
	} {
		if code, out, _ := m.run(t, command); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: %d, %q, want %q in it", command, code, out, want)
		}
	}
}

// TestProblems: one sentence, an exit code, and the same for programs.
func TestProblems(t *testing.T) {
	b := script()
	b.Err = &localapi.Problem{Code: localapi.CodeInUse, Detail: "2-1 is in use (sda1 is mounted on /mnt): unmount it, or share it with --force"}
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

func TestMistakesOnTheCommandLine(t *testing.T) {
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
		t.Errorf("they reached the agent: %v", calls)
	}
}

func TestNoAgent(t *testing.T) {
	code, out, errOut := alone(t).run(t, "status")
	if code != 3 || out != "" || !strings.HasSuffix(errOut, "start it with: easyfind up\n") {
		t.Errorf("%d, %q, %q", code, out, errOut)
	}
}

func TestSocketFromTheEnvironment(t *testing.T) {
	m := with(t, script())
	t.Setenv("EASYFIND_SOCKET", m.socket)
	if code, _, errOut := alone(t).run(t, "status"); code != 0 {
		t.Errorf("%d, %s", code, errOut)
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	m := alone(t)
	_, all, _ := m.run(t)
	commands := regexp.MustCompile(`(?m)^  ([a-z]+) {2,}`).FindAllStringSubmatch(all, -1)
	if len(commands) != 14 || !strings.Contains(all, "Exit codes") {
		t.Errorf("%d commands, want 14, in\n%s", len(commands), all)
	}
	for _, c := range commands {
		if code, out, errOut := m.run(t, c[1], "--help"); code != 0 || !strings.Contains(out, "Usage: easyfind "+c[1]) || errOut != "" {
			t.Errorf("%s --help: %d, %q, %q", c[1], code, out, errOut)
		}
	}
	if code, out, _ := m.run(t, "version"); code != 0 || !strings.HasPrefix(out, "easyfind ") {
		t.Errorf("version: %d, %q", code, out)
	}
}

func TestPlaces(t *testing.T) {
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
		want places
	}{
		"root":     {0, env("XDG_RUNTIME_DIR=/run/user/0", "HOME=/root"), places{"/var/lib/easyfind", "/run/easyfind/easyfind.sock"}},
		"session":  {1000, env("XDG_RUNTIME_DIR=/run/user/1000", "HOME=/home/a"), places{"/home/a/.local/state/easyfind", "/run/user/1000/easyfind/easyfind.sock"}},
		"no login": {1000, env("HOME=/home/a", "XDG_STATE_HOME=relative"), places{"/home/a/.local/state/easyfind", "/home/a/.local/state/easyfind/easyfind.sock"}},
		"XDG":      {1000, env("HOME=/home/a", "XDG_STATE_HOME=/s"), places{"/s/easyfind", "/s/easyfind/easyfind.sock"}},
	} {
		if got := placesOf(c.uid, c.env); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAmount(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1_500_000_000: "1.5 GB", 1<<64 - 1: "18.4 EB"} {
		if got := amount(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
