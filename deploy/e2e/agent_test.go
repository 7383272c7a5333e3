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

// commandTimeout bounds one command on a busy machine whose processor is emulated.
const commandTimeout = 2 * time.Minute

// runner runs programs: a guest, or a node of the lab.
type runner interface {
	Stream(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (int, error)
}

// node runs processes of this machine in a node of the lab.
type node struct {
	lab  *lab.Lab
	name string
}

// Stream runs a program in the node until it or ctx ends.
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

// agent is a running or stopped easyfind.
type agent struct {
	name    string
	on      runner
	program string // path in the guest or node
	dir     string // directory for state and socket, in the guest or node
	log     string // file on this machine
	ended   chan error
	life    *testing.T // the agent ends with this test, also if a subtest starts it again
}

// newAgent returns an agent that is not started. Its log is printed if the test fails.
func newAgent(t *testing.T, name string, on runner, program, dir string) *agent {
	t.Helper()
	a := &agent{name: name, on: on, program: program, dir: dir, log: filepath.Join(t.TempDir(), name+".log"), life: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of agent %s:\n%s", name, tail(a.log))
		}
	})
	return a
}

// tail returns the end of a log for a test message, without the messages of the ICE library,
// which are many and say little.
func tail(name string) string {
	const most = 4 << 10
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	var kept []byte
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte("message of the ICE library")) {
			kept = append(kept, line...)
		}
	}
	return string(kept[max(0, len(kept)-most):])
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
		a.program, "up", "--state", a.dir + "/state", "--socket", a.dir +
			"/socket", "--name", a.name, "--log-level", "DEBUG",
	}, flags...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // so that the clean-up can end it
	ended := make(chan error, 1)
	go func() {
		code, err := a.on.Stream(ctx, nil, log, log, argv...)
		ended <- errors.Join(err, exitStatus(code), log.Close())
		close(ended)
	}()
	a.ended = ended
	a.life.Cleanup(func() {
		cancel()
		<-ended
	})
	eventually(t, commandTimeout, func(ctx context.Context) error {
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

// kill ends the agent with SIGKILL and waits until it has ended.
func (a *agent) kill(t *testing.T) {
	t.Helper()
	a.signal(t, "KILL")
}

// stop ends the agent as a service manager does and waits until it has ended.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	if err := a.signal(t, "TERM"); err != nil {
		t.Errorf("agent %s did not end cleanly: %v", a.name, err)
	}
}

func (a *agent) signal(t *testing.T, name string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	var said bytes.Buffer
	code, err := a.on.Stream(ctx, nil, &said, &said, "sh", "-c", `kill -"$1" "$(cat "$0/pid")"`, a.dir, name)
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

// failure is the error document of a command.
type failure struct {
	exit         int
	Code, Detail string
}

func (f *failure) Error() string { return fmt.Sprintf("%s (%s, exit %d)", f.Detail, f.Code, f.exit) }

// run runs a command and returns its last JSON document. If the command fails, the
// error wraps a *failure.
func (a *agent) run(ctx context.Context, args ...string) (json.RawMessage, error) {
	var stdout, stderr bytes.Buffer
	argv := append([]string{a.program, args[0], "--json", "--socket", a.dir + "/socket"}, args[1:]...)
	code, err := a.on.Stream(ctx, nil, &stdout, &stderr, argv...)
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

// must runs a command that must succeed, and decodes its result into v if v is not nil.
func (a *agent) must(t *testing.T, v any, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	raw, err := a.run(ctx, args...)
	if err == nil && v != nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fails runs a command that must be refused with the given exit status and one sentence
// that contains words.
func (a *agent) fails(t *testing.T, exit int, words string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	_, err := a.run(ctx, args...)
	var f *failure
	switch {
	case err == nil:
		t.Errorf("easyfind %s succeeds", strings.Join(args, " "))
	case !errors.As(err, &f):
		t.Error(err)
	case f.exit != exit || !strings.Contains(f.Detail, words) || strings.Contains(f.Detail, "\n"):
		t.Errorf(
			"easyfind %s: exit %d, %q; want exit %d and one sentence with %q",
			strings.Join(args, " "),
			f.exit,
			f.Detail,
			exit,
			words,
		)
	default:
		t.Logf("easyfind %s: exit %d, %s", strings.Join(args, " "), f.exit, f.Detail)
	}
}

// offer is the first document of "easyfind pair".
type offer struct{ Address, PIN string }

// pairCommand is a running "easyfind pair".
type pairCommand struct {
	offer
	ended chan error // receives nil, or a *failure if the pairing was refused
}

// offerPairing starts "easyfind pair" and returns its offer. The command ends at most
// when ctx ends.
func (a *agent) offerPairing(ctx context.Context, t *testing.T) pairCommand {
	t.Helper()
	o := pairCommand{ended: make(chan error, 1)}
	stdout := &firstLine{line: make(chan []byte, 1)}
	go func() {
		var stderr bytes.Buffer
		code, err := a.on.Stream(ctx, nil, stdout, &stderr, a.program, "pair", "--json", "--socket", a.dir+"/socket")
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

// firstLine is a writer that sends the first line written to it on a channel.
type firstLine struct {
	line    chan []byte // has room for the line
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
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	o := host.offerPairing(ctx, t)
	client.must(t, nil, "pair", o.Address, o.PIN)
	if err := <-o.ended; err != nil {
		t.Fatalf("agent %s: pair: %v", host.name, err)
	}
}
