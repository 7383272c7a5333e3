package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Exit statuses of the command line, as listed in its help.
const (
	exitUsage       = 2
	exitNotRunning  = 3
	exitUnknown     = 4
	exitInUse       = 5
	exitPermission  = 6
	exitPairing     = 7
	exitUnreachable = 8
	exitUnsupported = 9
)

// TestRefusalsSayWhatToDo: a command that cannot be carried out prints one sentence and ends
// with the exit status for the kind of its error. Both agents are processes of this machine
// with software devices.
func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	p := builtPrograms(t)
	l := network{host: nat("portrestrict"), client: nat("portrestrict")}.start(t)
	r := startRendezvous(t, l, p)
	host := newAgent(t, "workshop", node{l, "o"}, p.agent, t.TempDir())
	client := newAgent(t, "laptop", node{l, "p"}, p.agent, t.TempDir())

	host.fails(t, exitNotRunning, "easyfind up", "status")
	host.up(t, "--rendezvous", r.link, "--virtual", "disk,keyboard")
	client.up(t, "--rendezvous", r.link)

	var burned offer
	if !t.Run("Pairing", func(t *testing.T) { burned = refusedPairing(t, host, client) }) {
		t.FailNow()
	}
	pair(t, host, client)
	disk := host.device(t, "disk")
	host.must(t, nil, "share", disk.ID)

	withdrawnPairing(t, host, client)

	client.fails(t, exitUnknown, "nobody", "use", "nobody", "1-1")
	client.fails(t, exitUnknown, "nobody", "forget", "nobody")
	client.fails(t, exitUnknown, "nobody", "ls", "nobody")
	client.fails(t, exitUnknown, "9-9", "use", "workshop", "9-9", "--endpoint")
	client.fails(t, exitUnknown, "", "release", "workshop/9-9")
	client.fails(t, exitUsage, "", "reach", "workshop", "gopher://example.org")
	if _, err := os.Stat("/sys/devices/platform/vhci_hcd.0"); errors.Is(err, os.ErrNotExist) {
		client.fails(t, exitUnsupported, "vhci", "use", "workshop", disk.ID)
	} else {
		t.Log("this machine has vhci_hcd, so that its absence is not to be seen")
	}
	nothingClaimed(t, host, client)
	u := client.use(t, "workshop", disk.ID, "--endpoint")
	host.has(t, commandTimeout, "an export", func(s status) bool { return len(s.Exports) == 1 })
	client.must(t, nil, "release", u.ID)
	host.has(t, commandTimeout, "nothing claimed", func(s status) bool { return len(s.Exports) == 0 })

	t.Run("Starting", func(t *testing.T) { refusedStart(t, client) })

	r.stop()
	client.has(
		t,
		commandTimeout,
		"the loss of its rendezvous",
		func(s status) bool { return !s.Rendezvous.Connected && s.Rendezvous.Detail != "" },
	)
	client.fails(t, exitUnreachable, "rendezvous", "pair", burned.Address, burned.PIN)
	host.stop(t)
	client.fails(t, exitUnreachable, "workshop cannot be reached", "use", "workshop", disk.ID, "--endpoint")
	nothingClaimed(t, client)
}

// nothingClaimed checks that a refused command has no effect.
func nothingClaimed(t *testing.T, agents ...*agent) {
	t.Helper()
	for _, a := range agents {
		if s := a.status(t); len(s.Uses) != 0 || len(s.Exports) != 0 {
			t.Errorf("agent %s still has %+v and %+v", a.name, s.Uses, s.Exports)
		}
	}
}

// withdrawnPairing uses an address after the host has given up, as it does by itself after
// ten minutes.
func withdrawnPairing(t *testing.T, host, client *agent) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o := host.offerPairing(ctx, t)
	cancel()
	<-o.ended
	eventually(t, commandTimeout, func(ctx context.Context) error {
		_, err := client.run(ctx, "pair", o.Address, o.PIN)
		var f *failure
		switch {
		case err == nil:
			t.Fatal("an address that was withdrawn still pairs")
		case errors.As(err, &f) && f.exit == exitPairing && strings.Contains(f.Detail, "easyfind pair"):
			return nil
		}
		return err // the host's agent has not noticed yet
	})
}

// user runs programs as a user other than root.
type user struct {
	runner
	name string
}

// Stream runs a program as the user.
func (u user) Stream(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (int, error) {
	as := []string{"start-stop-daemon", "-S", "-c", u.name, "-p", "/nonexistent", "-a", argv[0], "--"}
	return u.runner.Stream(ctx, stdin, stdout, stderr, append(as, argv[1:]...)...)
}

// othersNeedPermission runs an agent without root on the host. It can neither open a device
// nor attach one.
func (k *chain) othersNeedPermission(t *testing.T, disk string) {
	visitor := newAgent(t, "visitor", user{k.s, "nobody"}, guestProgram, "/tmp/visitor")
	visitor.up(t, "--rendezvous", k.rendezvous.link, "--tls-listen", "", "--usbip-listen", "")
	pair(t, visitor, k.client)
	visitor.must(t, nil, "share", disk)
	k.client.fails(t, exitPermission, "run the agent as root", "use", "visitor", disk)

	pair(t, k.host, visitor)
	visitor.fails(t, exitUnsupported, "modprobe vhci_hcd", "use", "workshop", disk)
	k.s.must(t, commandTimeout, "modprobe vhci_hcd")
	visitor.fails(t, exitPermission, "run the agent as root", "use", "workshop", disk)
	nothingClaimed(t, k.host, k.client, visitor)
	k.client.must(t, nil, "forget", "visitor")
	k.host.must(t, nil, "forget", "visitor")
	k.s.must(t, commandTimeout, awaitDisk)
}

// refusedPairing tries wrong PINs until the address is invalid, and returns it.
func refusedPairing(t *testing.T, host, client *agent) offer {
	client.fails(t, exitUsage, "", "pair", "not an address", "1234")
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	o := host.offerPairing(ctx, t)
	wrong := "0000-0000"
	if o.PIN == wrong {
		wrong = "0000-0001"
	}
	for range 3 {
		client.fails(t, exitPairing, "", "pair", o.Address, wrong)
	}
	var f *failure
	if err := <-o.ended; !errors.As(err, &f) || f.exit != exitPairing {
		t.Errorf("the offer ends after three wrong PINs with %v, want exit %d", err, exitPairing)
	}
	client.fails(t, exitPairing, "", "pair", o.Address, o.PIN)
	for _, a := range []*agent{host, client} {
		if peers := a.status(t).Peers; len(peers) != 0 {
			t.Errorf("agent %s is paired: %+v", a.name, peers)
		}
	}
	return o.offer
}

// refusedStart starts agents that cannot work.
func refusedStart(t *testing.T, running *agent) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, c := range map[string]struct {
		words string
		argv  []string
	}{
		"busy port": {"7574", []string{
			"up", "--state", dir + "/a", "--socket", dir + "/a.sock", "--usbip-listen",
			"",
		}},
		"busy socket": {"", []string{
			"up", "--state", dir + "/b", "--socket", running.dir + "/socket", "--tls-listen",
			"", "--usbip-listen", "",
		}},
		"unknown key": {"no-such-key", []string{
			"--config", file("unknown.yaml", "no-such-key: 1\n"), "up", "--state",
			dir + "/c",
		}},
		"broken file":   {"YAML", []string{"--config", file("broken.yaml", "a: [\n"), "up", "--state", dir + "/d"}},
		"broken budget": {"budget", []string{"up", "--budget", "soon", "--state", dir + "/e"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
		var said bytes.Buffer
		code, err := running.on.Stream(ctx, nil, &said, &said, append([]string{running.program}, c.argv...)...)
		cancel()
		if err != nil || code == 0 || !strings.Contains(said.String(), c.words) {
			t.Errorf("%s: exit %d, %v, %s", name, code, err, &said)
			continue
		}
		t.Logf("%s: exit %d, %s", name, code, &said)
	}
}
