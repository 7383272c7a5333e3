package rendezvous

import (
	"bufio"
	"bytes"
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
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay/relayload"
)

var (
	benchRelay  = flag.Bool("bench-relay", false, "measure the relay beside coturn, and write the figures into the guide")
	benchRounds = flag.Int("bench-rounds", 3, "rounds of -bench-relay; the median of them counts")
)

// What both servers are asked to do.
const (
	benchAllocations = 4
	benchOffered     = 60_000 // packets a second
	benchSteady      = 4 * time.Second
	benchShort       = 2 * time.Second
)

// rates are tried, from below, for the most that a server delivers.
var benchRates = []int{60_000, 90_000, 120_000, 150_000, 190_000, 240_000}

// turnServer is a server in a process of its own.
type turnServer struct {
	name    string
	process *os.Process
	address netip.AddrPort
	logins  []relayload.Login
}

// cpu is the processor time that the server has used, in user and in kernel
// mode (proc(5)).
func (s *turnServer) cpu() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(raw, []byte(") ")) // behind the name, which may hold anything
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0, errors.New("cannot read the processor time")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	kernel, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ
	return time.Duration(user+kernel) * tick, errors.Join(err1, err2)
}

// run starts a server's process, which ends with the test.
func (s *turnServer) run(t *testing.T, name string, args ...string) *bufio.Scanner {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.process = cmd.Process
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return bufio.NewScanner(out)
}

// drain keeps a process from waiting for a reader of what it prints.
func drain(lines *bufio.Scanner) {
	go func() {
		for lines.Scan() {
		}
	}()
}

func startOurs(t *testing.T) *turnServer {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "easyfind-rendezvous")
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "./cmd/easyfind-rendezvous")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := &turnServer{name: "EasyFind"}
	lines := s.run(t, bin, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0", "--relay-ip", "127.0.0.1",
		"--relay-allow", "127.0.0.2/32", "--relay-rate-per-peer", "100000", "--relay-packets-per-peer", "10000000")
	link := regexp.MustCompile(`https://\S+#[^'\s]+`)
	joined := ""
	for joined == "" && lines.Scan() {
		joined = link.FindString(lines.Text())
	}
	drain(lines)
	if joined == "" {
		t.Fatal("the rendezvous printed no link")
	}
	for seed := range benchAllocations {
		var c api.RelayCredentials
		newPeer(t, joined, byte(seed+1)).call(http.MethodPost, api.PathRelay, &c)
		address, _, _ := strings.Cut(strings.TrimPrefix(c.URIs[0], "turn:"), "?")
		s.address = netip.MustParseAddrPort(address)
		s.logins = append(s.logins, relayload.Login{Username: c.Username, Password: c.Password})
	}
	return s
}

func startCoturn(t *testing.T) *turnServer {
	t.Helper()
	probe, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &turnServer{name: "coturn", address: probe.LocalAddr().(*net.UDPAddr).AddrPort()}
	probe.Close()
	lines := s.run(t, "turnserver", "-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", strconv.Itoa(int(s.address.Port())),
		"--lt-cred-mech", "--user", "bench:secret", "--realm", "ef", "--allow-loopback-peers", "--no-cli", "--no-tls", "--no-dtls", "--log-file", "stdout",
		"--pidfile", filepath.Join(t.TempDir(), "pid"), "--userdb", filepath.Join(t.TempDir(), "db"))
	drain(lines)
	for range benchAllocations {
		s.logins = append(s.logins, relayload.Login{Username: "bench", Password: "secret"})
	}
	eventually(t, "coturn answers", func() bool {
		conn, err := net.Dial("tcp", s.address.String())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return s
}

// benchCell is one kind of load.
type benchCell struct {
	size      int
	toClients bool
}

func (c benchCell) String() string {
	if c.toClients {
		return fmt.Sprintf("%d B, peer to client", c.size)
	}
	return fmt.Sprintf("%d B, client to peer", c.size)
}

// benchSample is what one server did with it in one round.
type benchSample struct {
	delivered float64 // of what was sent at the offered rate, 0 to 1
	cost      float64 // µs of processor time for a packet delivered
	best      float64 // packets a second
}

func (s *turnServer) sample(t *testing.T, c benchCell) benchSample {
	t.Helper()
	load := relayload.Load{
		Server: s.address, Logins: s.logins, Peer: netip.MustParseAddr("127.0.0.2"), Size: c.size, ToClients: c.toClients,
		Rate: benchOffered, For: benchSteady, CPU: s.cpu,
	}
	run := func() relayload.Result {
		r, err := relayload.Run(context.Background(), load)
		if err != nil {
			t.Fatalf("%s, %s: %v", s.name, c, err)
		}
		return r
	}
	r := run()
	out := benchSample{delivered: float64(r.Delivered) / float64(r.Sent), cost: float64(r.CPU.Microseconds()) / float64(max(1, r.Delivered))}
	load.For = benchShort
	for _, load.Rate = range benchRates {
		r := run()
		got := float64(r.Delivered) / r.Took.Seconds()
		t.Logf("  %s %s offered %d, sent %.0f/s, delivered %.0f/s, %.2f µs", s.name, c, load.Rate, float64(r.Sent)/r.Took.Seconds(), got, float64(r.CPU.Microseconds())/float64(max(1, r.Delivered)))
		if got < out.best*0.9 {
			break // it only becomes worse
		}
		out.best = max(out.best, got)
	}
	return out
}

// TestBenchRelay measures this relay and coturn in turns, in one run.
func TestBenchRelay(t *testing.T) {
	if !*benchRelay {
		t.Skip("asked for by -bench-relay only: make bench-relay")
	}
	servers := []*turnServer{startOurs(t), startCoturn(t)}
	for round := range *benchRounds {
		for _, c := range []benchCell{{1200, false}, {1200, true}, {160, false}, {160, true}} {
			for i := range servers {
				s := servers[(i+round)%2]
				got := s.sample(t, c)
				t.Logf("%-9s %s: %.2f %% delivered, %.2f µs, best %.0f/s", s.name, c, 100*got.delivered, got.cost, got.best)
			}
		}
	}
}
