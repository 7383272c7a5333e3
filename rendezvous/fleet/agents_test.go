//go:build linux

package fleet

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/proto/api"
)

// TestAgentsMoveWithoutInterruption: real agents move to another instance when
// theirs is restarted, and are connected all the time.
func TestAgentsMoveWithoutInterruption(t *testing.T) {
	t.Parallel()
	_, url := database(t)
	f := newFleet(t, url, 2, nil)
	program := filepath.Join(t.TempDir(), "easyfind")
	const agent = "github.com/easyfind-usb/easyfind/agent/cmd/easyfind"
	build := exec.Command("go", "build", "-trimpath", "-o", program, agent)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v: %s", err, out)
	}
	join, err := api.ParseJoinLink(f.all[0].Link)
	if err != nil {
		t.Fatal(err)
	}
	link := strings.Replace(f.all[0].Link, join.Host, f.balancer.address(), 1)
	var logs []*logtest.Journal
	for range 3 {
		logs = append(logs, runAgent(t, program, link))
	}
	for _, log := range logs {
		log.Await(t, "connected to the rendezvous")
	}
	for _, i := range f.all {
		i.Stop()
		i.Again()
		f.ready(i, http.StatusOK)
	}
	for n, log := range logs {
		log.Await(t, "moved to another instance of the rendezvous")
		if text := log.String(); strings.Contains(text, "the connection to the rendezvous failed") {
			t.Errorf("agent %d was disconnected for a while:\n%s", n, text)
		}
	}
}

// runAgent runs an agent without devices until the test ends.
func runAgent(t *testing.T, program, link string) *logtest.Journal {
	t.Helper()
	dir := t.TempDir()
	log := &logtest.Journal{}
	cmd := exec.Command(program, "up", "--rendezvous", link,
		"--state", filepath.Join(dir, "state"), "--socket", filepath.Join(dir, "socket"),
		"--backend", "none", "--tls-listen", "", "--usbip-listen", "")
	cmd.Stdout, cmd.Stderr = log, log
	// The kernel kills it when this process ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the agent ended with an error: %v\n%s", err, log)
		}
	})
	return log
}
