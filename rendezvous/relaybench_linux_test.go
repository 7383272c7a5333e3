package rendezvous

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/relayload"
	"github.com/easyfind-usb/easyfind/rendezvous/processtest"
)

var (
	benchRelay = flag.Bool("bench-relay", false, "measure the relay and coturn at full load, which takes about "+
		"ten minutes")
	benchRounds = flag.Int("bench-rounds", 3, "rounds of -bench-relay; the median counts")
	benchWrite  = flag.Bool("bench-relay-write", false, "write the figures of -bench-relay into the guide")
)

// benchScale holds the load for both servers.
type benchScale struct {
	cells   []benchCell
	offered int // packets per second of all allocations together
	steady  time.Duration
	rates   []int // ascending; they are tried to find the maximum that a server delivers
	short   time.Duration
	rounds  int
}

const benchAllocations = 4

// benchCell is one kind of load.
type benchCell struct {
	size      int
	toClients bool
	burst     int
}

func (c benchCell) String() string {
	text := fmt.Sprintf("%d B, client to peer", c.size)
	if c.toClients {
		text = fmt.Sprintf("%d B, peer to client", c.size)
	}
	if c.burst > 1 {
		text += fmt.Sprintf(", %d at once", c.burst)
	}
	return text
}

var benchCells = []benchCell{
	{1200, false, 1},
	{1200, true, 1},
	{1200, false, 16},
	{1200, true, 16},
	{160, false, 1},
	{160, true, 1},
}

// benchSample is the result of one server for a cell in one round.
type benchSample struct {
	delivered float64 // fraction of the packets sent at the offered rate
	cost      float64 // µs of processor time for each packet delivered at that rate
	best      float64 // maximum of packets delivered per second
}

// turnServer is a TURN server in a process of its own.
type turnServer struct {
	name    string
	cpu     func() (time.Duration, error)
	address netip.AddrPort
	logins  func() []relayload.Login
}

func startOurs(t *testing.T) *turnServer {
	t.Helper()
	program, err := processtest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// This machine does not reach the limits, but the relay has to count against them.
	i := processtest.Start(t, program, "--listen", "127.0.0.1:0", "--relay-ip", "127.0.0.1", "--relay-allow",
		"127.0.0.2/32",
		"--relay-rate-per-peer", "100000", "--relay-packets-per-peer", "10000000", "--relay-rate", "100000",
		"--relay-packets", "10000000")
	s := &turnServer{name: "EasyFind", cpu: i.CPU}
	var peers []*peer
	for seed := range benchAllocations {
		peers = append(peers, newPeer(t, i.Link, byte(seed+1)))
	}
	s.logins = func() (all []relayload.Login) {
		for _, p := range peers { // credentials are valid for ten minutes
			var c api.RelayCredentials
			p.call(http.MethodPost, api.PathRelay, &c)
			address, _, _ := strings.Cut(strings.TrimPrefix(c.URIs[0], "turn:"), "?")
			s.address = netip.MustParseAddrPort(address)
			all = append(all, relayload.Login{Username: c.Username, Password: c.Password})
		}
		return all
	}
	return s
}

func startCoturn(t *testing.T) *turnServer {
	t.Helper()
	installed(t, "turnserver")
	s := &turnServer{name: "coturn", address: loopbacktest.Address()}
	dir := t.TempDir()
	cmd := exec.Command("turnserver", "-n", "--listening-ip", s.address.Addr().String(), "--relay-ip", "127.0.0.1",
		"--listening-port", strconv.Itoa(int(s.address.Port())),
		"--lt-cred-mech", "--user", "bench:secret", "--realm", "ef", "--allow-loopback-peers", "--no-cli", "--no-tls",
		"--no-dtls", "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	s.cpu = func() (time.Duration, error) { return processtest.CPU(cmd.Process.Pid) }
	s.logins = func() []relayload.Login {
		return slices.Repeat([]relayload.Login{{Username: "bench", Password: "secret"}}, benchAllocations)
	}
	waittest.Until(t, "coturn answers", func() bool {
		conn, err := net.Dial("tcp", s.address.String())
		return err == nil && conn.Close() == nil
	})
	return s
}

func (s *turnServer) sample(t *testing.T, c benchCell, scale benchScale) benchSample {
	t.Helper()
	logins := s.logins()
	load := relayload.Load{
		Server: s.address, Logins: logins, Peer: netip.MustParseAddr("127.0.0.2"), Size: c.size,
		ToClients: c.toClients, Burst: c.burst,
		Rate: scale.offered, For: scale.steady, CPU: s.cpu,
	}
	run := func() relayload.Result {
		r, err := relayload.Run(context.Background(), load)
		if err != nil {
			t.Fatalf("%s, %s: %v", s.name, c, err)
		}
		return r
	}
	r := run()
	rate := func(r relayload.Result) float64 { return float64(r.Delivered) / r.Took.Seconds() }
	out := benchSample{
		delivered: float64(r.Delivered) / float64(max(1, r.Sent)), best: rate(r),
		cost: float64(r.CPU.Nanoseconds()) / 1000 / float64(max(1, r.Delivered)),
	}
	load.For = scale.short
	for _, load.Rate = range scale.rates {
		got := rate(run())
		if got < out.best*0.9 {
			break // higher rates are only worse
		}
		out.best = max(out.best, got)
	}
	return out
}

// TestBenchRelay measures this relay and coturn alternately. By default it runs at a
// small scale and shows that the measurement works.
func TestBenchRelay(t *testing.T) {
	scale := benchScale{cells: benchCells[:2], offered: 2000, steady: 500 * time.Millisecond, rounds: 1}
	if *benchRelay {
		scale = benchScale{
			cells: benchCells, offered: 60_000, steady: 4 * time.Second, rates: []int{100_000, 150_000, 220_000},
			short: time.Second, rounds: *benchRounds,
		}
	}
	servers := []*turnServer{startOurs(t), startCoturn(t)}
	report := &benchReport{began: time.Now(), scale: scale, loadBefore: loadAverage()}
	for round := range scale.rounds {
		for n, c := range scale.cells {
			for i := range servers {
				which := (i + round + n) % 2
				got := servers[which].sample(t, c, scale)
				report.samples[which][n] = append(report.samples[which][n], got)
				t.Logf("%-9s %s: %.2f %% delivered, %.2f µs, best %.0f/s", servers[which].name, c, 100*got.delivered,
					got.cost, got.best)
				if !*benchRelay && got.delivered < 0.5 {
					t.Errorf("%s, %s: %.0f %% delivered at a small rate", servers[which].name, c, 100*got.delivered)
				}
			}
		}
	}
	t.Log("\n" + report.markdown())
	if *benchRelay && *benchWrite {
		if err := report.write(); err != nil {
			t.Error(err)
		}
	}
}

// benchReport holds all results.
type benchReport struct {
	began      time.Time
	scale      benchScale
	loadBefore string
	samples    [2][6][]benchSample // of EasyFind and of coturn, by cell
}

// median returns the median of a figure of samples.
func median(samples []benchSample, of func(benchSample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return first
}

// markdown returns the tables.
func (r *benchReport) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nMeasured on %s in %s, medians of %d rounds. Servers and load share %d cores (%s).\n"+
		"Load average before: %s, after: %s.\n\n",
		r.began.Format("2006-01-02 15:04"), time.Since(r.began).Round(time.Second), r.scale.rounds, runtime.NumCPU(),
		runtime.Version(), r.loadBefore, loadAverage())
	fmt.Fprintf(&b, "| %d packets/s offered | delivered %%: coturn | EasyFind | µs a packet: coturn | EasyFind | "+
		"packets/s per core, EasyFind ÷ coturn | most delivered, packets/s: coturn | EasyFind | ÷ |\n", r.scale.offered)
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for n, c := range r.scale.cells {
		ours, theirs := r.samples[0][n], r.samples[1][n]
		delivered := func(s benchSample) float64 { return 100 * s.delivered }
		cost := func(s benchSample) float64 { return s.cost }
		best := func(s benchSample) float64 { return s.best }
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %.2f | **%.2f** | %.0f | %.0f | **%.2f** |\n", c,
			median(theirs, delivered), median(ours, delivered),
			median(theirs, cost), median(ours, cost), median(theirs, cost)/median(ours, cost), median(theirs, best),
			median(ours, best), median(ours, best)/median(theirs, best))
	}
	return b.String()
}

// write writes the tables to the guide.
func (r *benchReport) write() error {
	const begin, end = "<!-- figures of make bench-relay -->\n", "<!-- end of the relay's figures -->\n"
	name := filepath.Join("..", "deploy", "docs", "benchmarks-rendezvous.md")
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(raw), begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return errors.New(name + " has no place for the figures of the relay")
	}
	return os.WriteFile(name, []byte(before+begin+r.markdown()+end+after), 0o644)
}
