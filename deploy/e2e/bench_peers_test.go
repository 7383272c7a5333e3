package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/guest"
	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

var benchPeers = flag.Bool(
	"bench-peers",
	false,
	"connect 20,000 simulated agents to an instance in a guest, for about a quarter of an hour",
)

// TestBenchPeers connects 20,000 simulated agents to one instance. A process may not
// open enough files for that on some machines. Therefore the instance runs in a guest
// with its own limit, and two processes simulate the agents. The processor of the guest
// is emulated, so only the figures for memory mean something.
func TestBenchPeers(t *testing.T) {
	if !*benchPeers {
		t.Skip("a benchmark, run by make bench-peers")
	}
	const swarms, each = 2, 10_000
	const together, connecting, waiting = 90 * time.Second, 30 * time.Minute, 5 * time.Minute
	p := built(t)
	load := filepath.Join(scratch, "easyfind-load")
	if err := guest.GoBuild(t.Context(), load, module+"deploy/load/cmd/easyfind-load", "CGO_ENABLED=0"); err != nil {
		t.Fatal(err)
	}
	// Each agent has its own address in this network.
	l := lab.Start(
		t,
		&lab.Topology{
			Prefix: "ef-peers-",
			Seed:   1,
			Nodes:  []lab.Node{{Name: "inet", LAN: []string{"198.51.100.1/24"}}},
		},
	)
	if out, err := l.Command("inet", "ip", "route", "add", "local", "10.64.0.0/10", "dev",
		"lo").CombinedOutput(); err != nil {
		t.Fatalf("the agents' addresses: %v: %s", err, out)
	}
	m := boot(t, guest.Config{
		Name: "s", Image: p.image, Dir: t.TempDir(), Memory: 2048,
		Files: map[string]string{"/usr/bin/easyfind-rendezvous": p.rendezvous},
		NIC: &guest.NIC{
			Namespace: l.Namespace("inet"), Bridge: "lan0", Addr: "198.51.100.10/24",
			Gateway: "198.51.100.1",
		},
	})[0]
	m.must(t, commandTimeout, `mkdir /tmp/data; ulimit -n 65536
		easyfind-rendezvous --listen :8443 --public-url https://198.51.100.10:8443 --relay-ip 198.51.100.10 \
			--data /tmp/data > /tmp/log 2>&1 < /dev/null &
		echo $! > /tmp/pid`)
	link := m.must(t, commandTimeout, "until cat /tmp/data/join-link; do usleep 200000; done 2>/dev/null")
	before, own := m.instance(t)
	fmt.Printf("nobody: %d KB resident\n", before)

	ctx, cancel := context.WithTimeout(t.Context(), connecting+waiting+connecting)
	defer cancel()
	ended := make(chan error, swarms)
	for n := range swarms {
		go func() { ended <- simulate(ctx, l, load, link, each, waiting, n) }()
	}
	began := time.Now()
	var open int
	for open < own+swarms*each {
		select {
		case err := <-ended:
			t.Fatalf("an end before all were connected: %v", err)
		case <-time.After(10 * time.Second):
		}
		if _, open = m.instance(t); time.Since(began) > connecting {
			t.Fatalf("%d files open after %v", open, connecting)
		}
	}
	fmt.Printf("%d files open after %v\n", open, time.Since(began).Round(time.Second))
	select { // the figures are those of connected agents at rest
	case err := <-ended:
		t.Fatalf("the agents ended too early: %v", err)
	case <-time.After(together):
	}
	after, open := m.instance(t)
	if open < own+swarms*each {
		t.Errorf("%d files are open %v later", open, together)
	}
	fmt.Printf(
		"%d peers: %d KB resident, %.1f KB for each, %d files open\n",
		swarms*each,
		after,
		float64(after-before)/swarms/each,
		open,
	)
	for range swarms {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// instance returns the resident memory of the instance in a guest, in KB, and the number
// of its open files.
func (m *machine) instance(t *testing.T) (resident, files int) {
	t.Helper()
	said := m.must(
		t,
		commandTimeout,
		`cd /proc/$(cat /tmp/pid); sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' status; ls fd | wc -l`,
	)
	if _, err := fmt.Sscan(said, &resident, &files); err != nil {
		t.Fatalf("%q: %v", said, err)
	}
	return resident, files
}

// simulate connects agents to an instance. It returns an error if a connection was lost or
// a ping was not answered.
func simulate(ctx context.Context, l *lab.Lab, program, link string, agents int, during time.Duration, n int) error {
	cmd := l.Command(
		"inet",
		program,
		"--json",
		"--rendezvous",
		link,
		"--peers",
		strconv.Itoa(agents),
		"--messages",
		"0",
		"--for",
		during.String(),
		"--at-a-time",
		"16",
		"--set-up",
		"30m",
		"--sources",
		fmt.Sprintf("10.%d.0.0/16", 64+n),
	)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String()))
	}
	var r struct {
		Online     int `json:"online_at_the_end"`
		Lost       int `json:"connections_lost"`
		Pings      int
		Unanswered int `json:"pings_unanswered"`
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return fmt.Errorf("the report: %w", err)
	}
	fmt.Printf(
		"%d agents: %d online at the end, %d connections lost, %d pings, %d not answered\n",
		agents,
		r.Online,
		r.Lost,
		r.Pings,
		r.Unanswered,
	)
	if r.Online != agents || r.Lost > 0 || r.Unanswered > 0 || r.Pings == 0 {
		return fmt.Errorf(
			"of %d agents %d were online at the end, %d connections were lost and %d of %d pings not answered",
			agents,
			r.Online,
			r.Lost,
			r.Unanswered,
			r.Pings,
		)
	}
	return nil
}
