//go:build unix

package rendezvous

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
)

// programTime bounds one run of another program.
const programTime = 2 * time.Minute

// installed skips the test if a program is not installed.
func installed(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("EASYFIND_E2E_MUST_RUN") == "1" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed (Debian: coturn)", program)
}

// program runs a program and returns what it printed.
func program(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// relayOf returns the credentials of a peer, and the ports of TURN and of TURN over TLS.
func relayOf(t *testing.T, link string, seed byte) (c api.RelayCredentials, turn, turns string) {
	t.Helper()
	newPeer(t, link, seed).call(http.MethodPost, api.PathRelay, &c)
	for _, uri := range c.URIs {
		scheme, rest, _ := strings.Cut(uri, ":")
		address, _, _ := strings.Cut(rest, "?")
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		if scheme == "turn" {
			turn = port
		} else {
			turns = port
		}
	}
	return c, turn, turns
}

var (
	uclientCounts = regexp.MustCompile(`tot_send_msgs=(\d+), tot_recv_msgs=(\d+)`)
	uclientLost   = regexp.MustCompile(`Total lost packets (\d+) .*total send dropped (\d+)`)
)

// TestCoturnClientLosesNoMessages lets coturn's TURN client relay messages in all its
// ways, through the TURN port and the HTTPS port.
func TestCoturnClientLosesNoMessages(t *testing.T) {
	installed(t, "turnutils_uclient")
	const messages, clients = 100, 2
	echoHost, echoPort := startEcho(t)
	c := local(t)
	c.RelayAllow = []string{echoHost + "/32"}
	link := start(t, c).link
	for n, way := range []struct {
		name string
		args []string
		tls  bool
		echo bool
	}{
		{name: "UDP"},
		{name: "UDP, by indications", args: []string{"-s"}},
		{name: "TCP", args: []string{"-t"}},
		{name: "TCP, by indications", args: []string{"-t", "-s"}},
		{name: "TLS at the HTTPS port", args: []string{"-t", "-S"}, tls: true},
		{name: "UDP, to an echo peer", echo: true},
		{name: "TLS, to an echo peer", args: []string{"-t", "-S"}, tls: true, echo: true},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			login, port, tlsPort := relayOf(t, link, byte(n+1))
			args := append([]string{
				"-c", "-n", strconv.Itoa(messages), "-m", strconv.Itoa(clients), "-l", "170", "-z", "10",
				"-u", login.Username, "-w", login.Password,
			}, way.args...)
			if way.tls {
				port = tlsPort
			}
			if way.echo {
				args = append(args, "-e", echoHost, "-r", echoPort)
			} else {
				args = append(args, "-y")
			}
			out := program(t, "turnutils_uclient", append(args, "-p", port, "127.0.0.1")...)
			counts, lost := uclientCounts.FindAllStringSubmatch(out, -1), uclientLost.FindStringSubmatch(out)
			if len(counts) == 0 || lost == nil {
				t.Fatalf("no figures in the output:\n%s", out)
			}
			last := counts[len(counts)-1]
			if sent := strconv.Itoa(messages * clients); last[1] != sent || last[2] != sent || lost[1] != "0" ||
				lost[2] != "0" {
				t.Errorf("%s of %s sent, %s received, %s lost, %s dropped\n%s", last[1], sent, last[2], lost[1],
					lost[2], out)
			}
		})
	}
}

// startEcho runs coturn's echo peer, which cannot report a port that the system chose.
func startEcho(t *testing.T) (host, port string) {
	t.Helper()
	installed(t, "turnutils_peer")
	address := loopbacktest.Address().String()
	host, port, _ = net.SplitHostPort(address)
	cmd := exec.Command("turnutils_peer", "-L", host, "-p", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	waittest.Until(t, "the peer echoes", func() bool {
		conn, err := net.Dial("udp4", address)
		if err != nil {
			return false
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		conn.Write([]byte("hello"))
		n, err := conn.Read(make([]byte, 10))
		return err == nil && n == 5
	})
	return host, port
}

// TestOtherProgramsDetectNAT lets other STUN clients query a server with two addresses.
func TestOtherProgramsDetectNAT(t *testing.T) {
	c := local(t)
	c.STUNAlternate = "127.0.0.2"
	_, port, _ := relayOf(t, start(t, c).link, 1)
	t.Run("turnutils_stunclient", func(t *testing.T) {
		installed(t, "turnutils_stunclient")
		prints(t, program(t, "turnutils_stunclient", "-p", port, "-f", "127.0.0.1"),
			"Response origin: : 127.0.0.1:"+port, "Response origin: : 127.0.0.2:", "Other addr: : 127.0.0.2:",
			"UDP reflexive addr: 127.0.0.1:", "RFC 5780 response 3")
	})
	t.Run("turnutils_natdiscovery", func(t *testing.T) {
		installed(t, "turnutils_natdiscovery")
		for _, padded := range [][]string{nil, {"-P"}} {
			args := append([]string{"-m", "-f", "-H", "-p", port, "-L", "127.0.0.1"}, padded...)
			prints(t, program(t, "turnutils_natdiscovery", append(args, "127.0.0.1")...),
				"No NAT! (Endpoint Independent Mapping)", "NAT with Endpoint Independent Mapping!",
				"NAT with Endpoint Independent Filtering!", "successful hairpinning")
		}
	})
	t.Run("stun-nat-behaviour", func(t *testing.T) {
		bin := filepath.Join(t.TempDir(), "stun-nat-behaviour")
		program(t, "go", "build", "-o", bin, "github.com/pion/stun/cmd/stun-nat-behaviour")
		prints(t, program(t, bin, "-server", "127.0.0.1:"+port), "NAT mapping behavior: endpoint independent",
			"NAT filtering behavior: endpoint independent")
	})
}

// prints checks that an output contains phrases.
func prints(t *testing.T, out string, phrases ...string) {
	t.Helper()
	for _, phrase := range phrases {
		if !strings.Contains(out, phrase) {
			t.Errorf("the output does not contain %q:\n%s", phrase, out)
		}
	}
}
