package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/deploy/e2e/lab"
)

// patience bounds one command on a busy machine whose processor is emulated.
const patience = 2 * time.Minute

// place is where programs run: a guest, or a node of the lab.
type place interface {
	Stream(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (int, error)
}

// node is a node of the lab as a place for processes of this machine.
type node struct {
	lab  *lab.Lab
	name string
}

// Stream runs a program in the node until it ends or ctx does.
func (n node) Stream(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (int, error) {
	c := n.lab.Command(n.name, argv[0], argv[1:]...)
	c.Stdin, c.Stdout, c.Stderr, c.WaitDelay = stdin, stdout, stderr, time.Second
	if err := c.Start(); err != nil {
		return -1, err
	}
	killed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { killed <- c.Process.Kill() })
	err := c.Wait()
	if !stop() {
		return -1, errors.Join(ctx.Err(), <-killed)
	}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = nil
	}
	return c.ProcessState.ExitCode(), err
}

// agent is an easyfind that runs somewhere.
type agent struct {
	name    string
	at      place
	program string // path there
	dir     string // for its state and socket, there
	log     string // file of this machine
	ended   chan error
	life    *testing.T // the test that it ends with, whichever part of it starts it again
}

// newAgent makes an agent that does not run yet. Its log is shown if the test
// fails.
func newAgent(t *testing.T, name string, at place, program, dir string) *agent {
	t.Helper()
	a := &agent{name: name, at: at, program: program, dir: dir, log: filepath.Join(t.TempDir(), name+".log"), life: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of agent %s:\n%s", name, tail(a.log))
		}
	})
	return a
}

// tail is the end of a file, for a person.
func tail(name string) string {
	const most = 8 << 10
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}

// up starts the agent and waits until it answers.
func (a *agent) up(t *testing.T, flags ...string) {
	t.Helper()
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	argv := append([]string{
		"sh", "-c", `mkdir -p "$0" && echo $$ > "$0/pid" && exec "$@"`, a.dir,
		a.program, "up", "--state", a.dir + "/state", "--socket", a.dir + "/socket", "--name", a.name, "--log-level", "DEBUG",
	}, flags...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // for the clean-up to end
	ended := make(chan error, 1)
	go func() {
		code, err := a.at.Stream(ctx, nil, log, log, argv...)
		ended <- errors.Join(err, exitStatus(code), log.Close())
		close(ended)
	}()
	a.ended = ended
	a.life.Cleanup(func() {
		cancel()
		<-ended
	})
	eventually(t, patience, func(ctx context.Context) error {
		select {
		case err := <-ended:
			t.Fatalf("agent %s ended at once: %v\n%s", a.name, err, tail(a.log))
		default:
		}
		_, err := a.run(ctx, "status")
		return err
	})
}

func exitStatus(code int) error {
	if code != 0 {
		return fmt.Errorf("exit status %d", code)
	}
	return nil
}

// kill ends the agent with -9 and waits until it has ended.
func (a *agent) kill(t *testing.T) {
	t.Helper()
	a.signal(t, "KILL")
}

// stop ends the agent as a service manager does; it must end by itself.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	if err := a.signal(t, "TERM"); err != nil {
		t.Errorf("agent %s was told to end: %v", a.name, err)
	}
}

func (a *agent) signal(t *testing.T, name string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var said bytes.Buffer
	code, err := a.at.Stream(ctx, nil, &said, &said, "sh", "-c", `kill -"$1" "$(cat "$0/pid")"`, a.dir, name)
	if err := errors.Join(err, exitStatus(code)); err != nil {
		t.Fatalf("kill agent %s: %v: %s", a.name, err, &said)
	}
	select {
	case err := <-a.ended:
		return err
	case <-ctx.Done():
		t.Fatalf("agent %s does not end by signal %s", a.name, name)
		return nil
	}
}

// failure is what the command line says of a problem.
type failure struct {
	exit         int
	Code, Detail string
}

func (f *failure) Error() string { return fmt.Sprintf("%s (%s, exit %d)", f.Detail, f.Code, f.exit) }

// run runs a command of the command line and returns its last document. An
// error of the command is a *failure.
func (a *agent) run(ctx context.Context, args ...string) (json.RawMessage, error) {
	var stdout, stderr bytes.Buffer
	argv := append([]string{a.program, args[0], "--json", "--socket", a.dir + "/socket"}, args[1:]...)
	code, err := a.at.Stream(ctx, nil, &stdout, &stderr, argv...)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %s: %w", a.name, strings.Join(args, " "), err)
	}
	lines := bytes.Split(bytes.TrimSpace(stdout.Bytes()), []byte("\n"))
	last := lines[len(lines)-1]
	if code != 0 {
		f := &failure{exit: code}
		if json.Unmarshal(last, f) != nil {
			f.Detail = stderr.String()
		}
		return nil, fmt.Errorf("agent %s: %s: %w", a.name, strings.Join(args, " "), f)
	}
	return last, nil
}

// must runs a command that has to succeed, and decodes its result into v if
// that is not nil.
func (a *agent) must(t *testing.T, v any, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	raw, err := a.run(ctx, args...)
	if err == nil && v != nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fails runs a command that must be refused with an exit status and a sentence
// that has these words.
func (a *agent) fails(t *testing.T, exit int, words string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := a.run(ctx, args...)
	var f *failure
	switch {
	case err == nil:
		t.Errorf("easyfind %s succeeds", strings.Join(args, " "))
	case !errors.As(err, &f):
		t.Error(err)
	case f.exit != exit || !strings.Contains(f.Detail, words) || strings.Contains(f.Detail, "\n"):
		t.Errorf("easyfind %s: exit %d, %q; want exit %d and one sentence with %q", strings.Join(args, " "), f.exit, f.Detail, exit, words)
	default:
		t.Logf("easyfind %s: exit %d, %s", strings.Join(args, " "), f.exit, f.Detail)
	}
}

// offer is what "easyfind pair" shows first.
type offer struct{ Address, PIN string }

// offering is a running "easyfind pair".
type offering struct {
	offer
	ended chan error // a *failure if it was refused
}

// offerPairing starts "easyfind pair" and returns what it shows. It ends with
// ctx at the latest.
func (a *agent) offerPairing(ctx context.Context, t *testing.T) offering {
	t.Helper()
	o := offering{ended: make(chan error, 1)}
	stdout := &firstLine{line: make(chan []byte, 1)}
	go func() {
		var stderr bytes.Buffer
		code, err := a.at.Stream(ctx, nil, stdout, &stderr, a.program, "pair", "--json", "--socket", a.dir+"/socket")
		if err == nil && code != 0 {
			err = &failure{exit: code, Detail: strings.TrimSpace(stderr.String())}
		}
		o.ended <- err
	}()
	select {
	case line := <-stdout.line:
		if err := json.Unmarshal(line, &o.offer); err != nil || o.Address == "" || o.PIN == "" {
			t.Fatalf("agent %s offers no pairing: %s, %v", a.name, line, err)
		}
	case err := <-o.ended:
		t.Fatalf("agent %s offers no pairing: %v", a.name, err)
	}
	return o
}

// firstLine hands the first line that is written to whoever waits for it.
type firstLine struct {
	line    chan []byte // with room for it
	written bytes.Buffer
	done    bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.written.Write(p)
	if line, _, ok := bytes.Cut(f.written.Bytes(), []byte("\n")); ok && !f.done {
		f.done = true
		f.line <- bytes.Clone(line)
	}
	return len(p), nil
}

// pair pairs two agents by address and PIN.
func pair(t *testing.T, host, client *agent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	o := host.offerPairing(ctx, t)
	client.must(t, nil, "pair", o.Address, o.PIN)
	if err := <-o.ended; err != nil {
		t.Fatalf("agent %s: pair: %v", host.name, err)
	}
}
