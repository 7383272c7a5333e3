package state_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

func open(t *testing.T, dir string) *state.Store {
	t.Helper()
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newPeer(t *testing.T, name string) state.Peer {
	t.Helper()
	key, err := ident.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Peer{
		ID: key.ID(), PublicKey: key.Public(), Name: name,
		PairedAt: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Addresses: []string{"tls://" + name + ":7574"},
	}
}

func TestStateSurvivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	s := open(t, dir)
	peer := newPeer(t, "laptop")
	if _, err := s.AddPeer(peer); err != nil {
		t.Fatal(err)
	}
	until := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, err := range []error{
		s.PutShare(state.Share{Device: "2-1", Peers: []ident.PeerID{peer.ID}, Force: true, Until: until}),
		s.PutShare(state.Share{Device: "0951:1666"}),
		s.PutUse(state.Use{Peer: peer.ID, Device: "1-1", Mode: state.ModeVHCI}),
		s.PutUse(state.Use{Peer: peer.ID, Device: "1-2", Mode: state.ModeEndpoint}),
		s.RemoveUse(peer.ID, "1-1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before, key := s.State(), s.Key()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if diff := cmp.Diff(before, again.State()); diff != "" {
		t.Error("state differs after a restart:\n", diff)
	}
	if len(before.Shares) != 2 || len(before.Uses) != 1 {
		t.Errorf("%d shares and %d uses, want 2 and 1", len(before.Shares), len(before.Uses))
	}
	if again.Key().ID() != key.ID() {
		t.Error("the key differs after a restart")
	}
}

func TestOtherUsersCannotReadKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	if _, err := s.AddPeer(newPeer(t, "x")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "key": 0o600, "state.json": 0o600, "lock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: mode %v, %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files remain: %v, %v", left, err)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := state.Open(dir)
	if !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v, want %v and the name of the directory", err, state.ErrLocked)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestBrokenFileIsNamedAndKept(t *testing.T) {
	p := newPeer(t, "a")
	peer := func(id, name string) string {
		const form = `{"id":%q,"public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","name":%q,` +
			`"paired_at":"2026-01-01T00:00:00Z"}`
		return fmt.Sprintf(form, id, name)
	}
	for name, c := range map[string]struct{ file, content, want string }{
		"empty key":      {"key", "", "want 32"},
		"key not base64": {"key", "%%%", "not base64"},
		"key is long":    {"key", strings.Repeat("A", 300), "larger than"},
		"empty state":    {"state.json", "", "EOF"},
		"half a state":   {"state.json", `{"version":1,"peers":[`, "EOF"},
		"unknown key":    {"state.json", `{"version":1,"colour":"red"}`, `unknown field "colour"`},
		"later version":  {"state.json", `{"version":2}`, "version 2"},
		"two states":     {"state.json", `{"version":1}{"version":1}`, "follows"},
		"key of another": {
			"state.json", `{"version":1,"peers":[` + peer(p.ID.String(), "a") + `]}`, "does not match the ID",
		},
		"mistyped ID": {"state.json", `{"version":1,"peers":[` + peer("ABC", "a") + `]}`, "not a PeerID"},
		"use of a stranger": {
			"state.json",
			`{"version":1,"uses":[{"peer":"` + p.ID.String() + `","device":"1-1","mode":"vhci"}]}`, "unknown peer",
		},
		"huge": {"state.json", strings.Repeat(" ", 5<<20), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, c.file)
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := state.Open(dir)
			var broken *state.BrokenError
			if !errors.As(err, &broken) || broken.File != file || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error about %s that contains %q", err, file, c.want)
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != c.content {
				t.Errorf("Open changed the file: %v", err)
			}
			if c.file == "key" && c.content != "" && strings.Contains(err.Error(), c.content) {
				t.Error("the error text quotes the key file")
			}
			// Open released the lock: the directory opens once the file is gone.
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			open(t, dir)
		})
	}
}

func TestRefusedChangeLeavesStateUnchanged(t *testing.T) {
	s := open(t, t.TempDir())
	before := s.State()
	stranger := newPeer(t, "stranger")
	forged := newPeer(t, "forged")
	forged.ID = stranger.ID
	_, addErr := s.AddPeer(forged)
	for name, c := range map[string]struct{ got, want error }{
		"forged peer":    {addErr, nil},
		"nameless share": {s.PutShare(state.Share{}), nil},
		"use":            {s.PutUse(state.Use{Peer: stranger.ID, Device: "1-1", Mode: state.ModeVHCI}), nil},
		"forget":         {s.ForgetPeer(stranger.ID), state.ErrUnknownPeer},
		"addresses":      {s.SetAddresses(stranger.ID, nil), state.ErrUnknownPeer},
		"unshare":        {s.RemoveShare("1-1"), state.ErrNotShared},
		"release":        {s.RemoveUse(stranger.ID, "1-1"), state.ErrNotUsed},
	} {
		if c.got == nil || c.want != nil && !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if diff := cmp.Diff(before, s.State()); diff != "" {
		t.Error("a refused change altered the state:\n", diff)
	}
}

func TestForgettingPeerDoesNotWidenShares(t *testing.T) {
	s := open(t, t.TempDir())
	a, b := newPeer(t, "a"), newPeer(t, "b")
	for _, p := range []state.Peer{a, b} {
		if _, err := s.AddPeer(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		s.PutShare(state.Share{Device: "for-a", Peers: []ident.PeerID{a.ID}}),
		s.PutShare(state.Share{Device: "for-both", Peers: []ident.PeerID{a.ID, b.ID}}),
		s.PutShare(state.Share{Device: "for-all"}),
		s.PutUse(state.Use{Peer: a.ID, Device: "1-1", Mode: state.ModeVHCI}),
		s.ForgetPeer(a.ID),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []state.Share{{Device: "for-all"}, {Device: "for-both", Peers: []ident.PeerID{b.ID}}}
	if diff := cmp.Diff(want, s.State().Shares); diff != "" {
		t.Error(diff)
	}
	if uses := s.State().Uses; len(uses) != 0 {
		t.Errorf("uses of a forgotten peer remain: %v", uses)
	}
}

func TestShareAllows(t *testing.T) {
	a, b := newPeer(t, "a").ID, newPeer(t, "b").ID
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		share state.Share
		want  bool
	}{
		"all":       {state.Share{}, true},
		"this one":  {state.Share{Peers: []ident.PeerID{b, a}}, true},
		"another":   {state.Share{Peers: []ident.PeerID{b}}, false},
		"in time":   {state.Share{Until: now.Add(time.Second)}, true},
		"too late":  {state.Share{Until: now}, false},
		"late, one": {state.Share{Peers: []ident.PeerID{a}, Until: now.Add(-time.Hour)}, false},
	} {
		if got := c.share.Allows(a, now); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestFindPeer(t *testing.T) {
	s := open(t, t.TempDir())
	var laptop state.Peer
	for _, name := range []string{"laptop", "desk"} {
		p, err := s.AddPeer(newPeer(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "laptop" {
			laptop = p
		}
	}
	twin, err := s.AddPeer(newPeer(t, "LAPTOP"))
	if err != nil || twin.Name != "LAPTOP-2" {
		t.Errorf("the second peer with a name is called %q, %v, want LAPTOP-2", twin.Name, err)
	}
	st := s.State()
	id := laptop.ID.String()
	for _, text := range []string{
		"laptop", "Laptop", id, strings.ToLower(id), strings.ReplaceAll(id, "-", ""), id[:10],
	} {
		if got, err := st.Find(text); err != nil || got.ID != laptop.ID {
			t.Errorf("Find(%q) = %v, %v", text, got.Name, err)
		}
	}
	for text, want := range map[string]error{
		"": state.ErrUnknownPeer, "-": state.ErrUnknownPeer, "lap": nil, "0000": state.ErrUnknownPeer,
	} {
		if got, err := st.Find(text); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("Find(%q) = %q, %v", text, got.Name, err)
		}
	}
	renamed := laptop
	renamed.Name, renamed.Addresses = "notebook", nil
	got, err := s.AddPeer(renamed)
	if err != nil || len(s.State().Peers) != 3 || len(got.Addresses) != 1 {
		t.Errorf("paired again: %+v, %v; want the same peer with the new name and its old addresses", got, err)
	}
}

func TestConcurrentChangesAreAllStored(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := s.PutShare(state.Share{Device: fmt.Sprint("1-", i)}); err != nil {
				t.Error(err)
			}
			_ = s.State()
		})
	}
	wg.Wait()
	if got := len(s.State().Shares); got != 8 {
		t.Errorf("%d shares, want 8", got)
	}
	if err := s.RemoveShare("1-1"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil || bytes.Contains(raw, []byte(`"1-1"`)) || !bytes.Contains(raw, []byte(`"1-2"`)) {
		t.Errorf("the file does not hold the last state: %v\n%s", err, raw)
	}
}

// TestWatcherSeesOnlyItsParts checks which watchers each change wakes.
func TestWatcherSeesOnlyItsParts(t *testing.T) {
	s := open(t, t.TempDir())
	peer, gone := newPeer(t, "laptop"), newPeer(t, "old")
	if _, err := s.AddPeer(gone); err != nil {
		t.Fatal(err)
	}
	parts := map[string]state.Part{
		"peers": state.PartPeers, "addresses": state.PartAddresses, "shares": state.PartShares, "uses": state.PartUses,
	}
	watches := map[string]<-chan struct{}{}
	for name, part := range parts {
		changed, stop := s.Watch(part)
		defer stop()
		watches[name] = changed
	}
	add := func(p state.Peer) func() error {
		return func() error { _, err := s.AddPeer(p); return err }
	}
	renamed := peer
	renamed.Name = "notebook"
	use := state.Use{Peer: peer.ID, Device: "1-1", Mode: state.ModeVHCI}
	for _, c := range []struct {
		name   string
		change func() error
		want   []string
	}{
		{"pair", add(peer), []string{"addresses", "peers"}},
		{"pair again", add(peer), nil},
		{"rename", add(renamed), []string{"peers"}},
		{"reach", func() error { return s.SetAddresses(peer.ID, []string{"tls://other:1"}) }, []string{"addresses"}},
		{"share", func() error { return s.PutShare(state.Share{Device: "2-1"}) }, []string{"shares"}},
		{"share again", func() error { return s.PutShare(state.Share{Device: "2-1"}) }, nil},
		{"use", func() error { return s.PutUse(use) }, []string{"uses"}},
		{"release", func() error { return s.RemoveUse(peer.ID, "1-1") }, []string{"uses"}},
		{"unshare", func() error { return s.RemoveShare("2-1") }, []string{"shares"}},
		{"forget", func() error { return s.ForgetPeer(gone.ID) }, []string{"addresses", "peers"}},
	} {
		if err := c.change(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var got []string
		for name, changed := range watches {
			select {
			case <-changed:
				got = append(got, name)
			default:
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the change wakes the watchers of %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSlowWatcherGetsOneValue(t *testing.T) {
	s := open(t, t.TempDir())
	changed, stop := s.Watch(state.PartShares)
	for _, device := range []string{"1-1", "1-2", "1-3"} {
		if err := s.PutShare(state.Share{Device: device}); err != nil {
			t.Fatal(err)
		}
	}
	if len(changed) != 1 {
		t.Errorf("%d values wait, want 1", len(changed))
	}
	<-changed
	stop()
	if err := s.RemoveShare("1-1"); err != nil {
		t.Fatal(err)
	}
	if len(changed) != 0 {
		t.Error("a value arrives after stop")
	}
}

func TestCopyIsIndependentOfStore(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.AddPeer(newPeer(t, "a")); err != nil {
		t.Fatal(err)
	}
	mine := s.State()
	mine.Peers[0].Addresses[0] = "changed"
	mine.Peers[0].Name = "changed"
	if got := s.State().Peers[0]; got.Name != "a" || got.Addresses[0] == "changed" {
		t.Errorf("a change of the copy altered the store: %+v", got)
	}
}
