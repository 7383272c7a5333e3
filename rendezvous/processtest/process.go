//go:build linux

// Package processtest runs the server as it is shipped, as processes of their
// own, for tests that kill, stop and restart them.
package processtest

import (
	"bufio"
	"errors"
	"fmt"
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
)

const startWait = time.Minute

// Build makes the server as it is shipped: without cgo and without the race
// detector.
func Build(dir string) (program string, err error) {
	program = filepath.Join(dir, "easyfind-rendezvous")
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, "github.com/easyfind-usb/easyfind/rendezvous/cmd/easyfind-rendezvous")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w: %s", err, out)
	}
	return program, nil
}

// Instance is a process of the server.
type Instance struct {
	t     testing.TB
	args  []string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	links chan string // the first that it prints

	Data string // its directory
	Link string // that it printed, to join with
	Host string // host:port of HTTPS and signalling
}

var printedLink = regexp.MustCompile(`--rendezvous '(https://[^']+)'`)

// Start starts an instance and waits until it serves. It ends with the test.
func Start(t testing.TB, program string, args ...string) *Instance {
	t.Helper()
	i := Begin(t, program, args...)
	i.Await()
	return i
}

// Begin starts an instance without waiting for it. It ends with the test.
func Begin(t testing.TB, program string, args ...string) *Instance {
	t.Helper()
	i := &Instance{t: t, Data: t.TempDir()}
	i.args = append([]string{program, "--data", i.Data, "--stun-listen", "127.0.0.1:0"}, args...)
	i.run("--listen", "127.0.0.1:0")
	t.Cleanup(i.Stop)
	return i
}

// run starts the process.
func (i *Instance) run(more ...string) {
	i.t.Helper()
	i.ended = make(chan struct{})
	i.cmd = exec.Command(i.args[0], append(i.args[1:], more...)...)
	// It ends with this process, however that ends.
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := i.cmd.StdoutPipe()
	if err != nil {
		i.t.Fatal(err)
	}
	log, err := os.CreateTemp(i.Data, "log-")
	if err != nil {
		i.t.Fatal(err)
	}
	defer log.Close()
	i.log, i.cmd.Stderr = log.Name(), log
	if err := i.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	i.links = make(chan string, 1)
	links, ended := i.links, i.ended
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := printedLink.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case links <- m[1]:
				default:
				}
			}
		}
		i.cmd.Wait() // how it ended is in its log
	}()
}

// Await waits until the instance serves and has said how to join it.
func (i *Instance) Await() {
	i.t.Helper()
	select {
	case i.Link = <-i.links:
	case <-i.ended:
		i.t.Fatalf("the server ended: %s", i.tail())
	case <-time.After(startWait):
		i.t.Fatalf("the server does not start: %s", i.tail())
	}
	join, err := api.ParseJoinLink(i.Link)
	if err != nil {
		i.t.Fatal(err)
	}
	i.Host = join.Host
}

// tail is the end of the log.
func (i *Instance) tail() string {
	log := i.Log()
	return log[max(0, len(log)-4096):]
}

// Signal sends a signal to the process.
func (i *Instance) Signal(s syscall.Signal) error { return i.cmd.Process.Signal(s) }

// Log is all that the process has logged since it was started last.
func (i *Instance) Log() string {
	raw, err := os.ReadFile(i.log)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// Kill ends the process with -9.
func (i *Instance) Kill() {
	i.cmd.Process.Kill()
	<-i.ended
}

// Again starts the instance again, at the same address.
func (i *Instance) Again() {
	i.t.Helper()
	i.run("--listen", i.Host)
	i.Await()
}

var loggedAddress = regexp.MustCompile(`the rendezvous is serving",? ?"?addr"?[:=]"?(127[0-9.:]+)`)

// Listens is the address of the HTTPS port, as the log has it; "" until it
// listens.
func (i *Instance) Listens() string {
	if m := loggedAddress.FindStringSubmatch(i.Log()); m != nil {
		return m[1]
	}
	return ""
}

// Stop ends the process as an operator does, and waits for it.
func (i *Instance) Stop() {
	i.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-i.ended:
	case <-time.After(30 * time.Second):
		i.Kill()
	}
}

// RSS is the process's resident memory in bytes.
func (i *Instance) RSS() (int, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", i.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), " kB"))
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS in the process's status")
}

// CPU is the processor time that the process has used so far.
func (i *Instance) CPU() (time.Duration, error) { return CPU(i.cmd.Process.Pid) }

// CPU is the processor time that a process has used so far.
func CPU(pid int) (time.Duration, error) {
	// By thread, because only there it is counted in nanoseconds. Go's threads
	// hardly ever end.
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(errors.New("no processor time of the process"), err)
	}
	var sum time.Duration
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(raw), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// Spent runs f and returns the processor time that the instance used meanwhile.
func (i *Instance) Spent(f func()) time.Duration {
	i.t.Helper()
	before, err := i.CPU()
	if err != nil {
		i.t.Fatal(err)
	}
	f()
	after, err := i.CPU()
	if err != nil {
		i.t.Fatal(err)
	}
	return after - before
}
