//go:build linux

// Package processtest runs release builds of the server as separate processes, for
// tests that kill, stop and restart them.
package processtest

import (
	"bufio"
	"context"
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

	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
)

// Bounds of waits.
const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 30 * time.Second
)

// Build builds the server in a directory, as for a release: without cgo and without
// the race detector.
func Build(dir string) (program string, err error) {
	program = filepath.Join(dir, "easyfind-rendezvous")
	const server = "github.com/easyfind-usb/easyfind/rendezvous/cmd/easyfind-rendezvous"
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, server)
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
	links chan string // receives the first join link that it prints

	Data string // data directory
	Link string // join link that it printed
	Host string // host:port of HTTPS and signalling
}

var printedLink = regexp.MustCompile(`--rendezvous '(https://[^']+)'`)

// Start starts an instance and waits until it serves. It stops at the end of the test.
func Start(t testing.TB, program string, args ...string) *Instance {
	t.Helper()
	i := Begin(t, program, args...)
	i.Await()
	return i
}

// Begin starts an instance without waiting for it. It stops at the end of the test.
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
	// The kernel kills it when this process ends.
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
		i.cmd.Wait() // the log says how it ended
	}()
}

// Await waits until the instance serves and has printed its join link.
func (i *Instance) Await() {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	select {
	case i.Link = <-i.links:
	case <-i.ended:
		i.t.Fatalf("the server ended: %s", i.tail())
	case <-ctx.Done():
		i.t.Fatalf("the server has not started within %v: %s", startTimeout, i.tail())
	}
	join, err := api.ParseJoinLink(i.Link)
	if err != nil {
		i.t.Fatal(err)
	}
	i.Host = join.Host
}

// tail returns the end of the log.
func (i *Instance) tail() string {
	log := i.Log()
	return log[max(0, len(log)-4096):]
}

// Signal sends a signal to the process.
func (i *Instance) Signal(s syscall.Signal) error { return i.cmd.Process.Signal(s) }

// Log returns the log of the process since its last start.
func (i *Instance) Log() string {
	raw, err := os.ReadFile(i.log)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// Kill ends the process with SIGKILL.
func (i *Instance) Kill() {
	i.cmd.Process.Kill()
	<-i.ended
}

// Again starts the instance again at the same address.
func (i *Instance) Again() {
	i.t.Helper()
	i.run("--listen", i.Host)
	i.Await()
}

// Address returns the address of the HTTPS port. It waits until the log contains it.
func (i *Instance) Address() string {
	i.t.Helper()
	return i.logged("the rendezvous is serving")
}

// ClusterAddress returns the address of the port for links from other instances. It
// waits until the log contains it.
func (i *Instance) ClusterAddress() string {
	i.t.Helper()
	return i.logged("accepting links from other instances")
}

// logged returns the address in the log record with a message.
func (i *Instance) logged(message string) (address string) {
	i.t.Helper()
	pattern := regexp.MustCompile(message + `",? ?"?addr"?[:=]"?(127[0-9.:]+)`)
	waittest.Until(i.t, "the log contains: "+message, func() bool {
		m := pattern.FindStringSubmatch(i.Log())
		if m == nil {
			return false
		}
		address = m[1]
		return true
	})
	return address
}

// Stop ends the process with SIGTERM, as an operator does, and waits for it.
func (i *Instance) Stop() {
	i.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(stopTimeout, func() { i.cmd.Process.Kill() })
	defer kill.Stop()
	<-i.ended
}

// RSS returns the resident memory of the process in bytes.
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

// CPU returns the processor time that the process has used.
func (i *Instance) CPU() (time.Duration, error) { return CPU(i.cmd.Process.Pid) }

// CPU returns the processor time that a process has used.
func CPU(pid int) (time.Duration, error) {
	// The kernel reports nanoseconds only for each thread. Threads of a Go program
	// hardly ever end.
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(errors.New("the kernel reports no processor time of the process"), err)
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

// Spent runs f and returns the processor time that the instance used during it.
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
